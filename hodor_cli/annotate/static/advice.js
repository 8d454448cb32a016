// The places to review and the frames to mask next: their lists, and stepping through them.

import { by, make } from "./elements.js";
import { isPicture, nameOf, objectOf, on, set, state } from "./state.js";
import { toast } from "./toasts.js";
import { go } from "./view.js";

const PLACES_SHOWN = 40, REASONS_SHOWN = 3;   // a place's tooltip shows all reasons

// The places to review in order: consecutive frames of one object form one place with all their reasons.
export function placesToReview() {
  const places = [], items = state.review.filter(({ object }) => objectOf(object));
  for (const { object, first, last, reason, detail } of items.sort((a, b) => a.object - b.object || a.first - b.first)) {
    let place = places.at(-1);
    if (place?.object !== object || first > place.last + 1) places.push(place = { object, first, last, reasons: new Set(), details: [] });
    place.last = Math.max(place.last, last);
    place.reasons.add(reason);
    place.details.push(`${first}: ${reason}${detail && `, ${detail}`}`);
  }
  return places.sort((a, b) => a.first - b.first);
}

// Show a place and select its object, ready to be corrected.
function visit({ object, first }) {
  set({ object });
  go(first);
}

const reasonsOf = ({ object, reasons }) => {
  const some = [...reasons].slice(0, REASONS_SHOWN);
  return `${nameOf(object)}: ${some.join(", ")}${reasons.size > some.length ? ", …" : ""}`;
};

// Go to the next place (way 1) or the previous one (-1), wrapping around, and say why it needs review.
export function nextReview(way) {
  const places = placesToReview(), order = way > 0 ? places : places.toReversed();
  const here = ({ object, first }) => way * (first - state.frame || object - state.object);
  const found = order.find((place) => here(place) > 0) ?? order[0];
  if (found) visit(found);
  toast(found ? reasonsOf(found) : "There is nothing to review.");
}

function drawReview() {
  const places = placesToReview();
  for (const count of [by("review-count"), by("next-review-count")]) count.textContent = places.length || "";
  by("next-review").hidden = !places.length;
  by("review").replaceChildren(...places.slice(0, PLACES_SHOWN).map((place) => make("li", {},
    make("button", {
      class: "quiet", onclick: () => visit(place), title: place.details.join("\n"),
    }, make("span", { text: place.last > place.first ? `${place.first}–${place.last}` : place.first }), reasonsOf(place)))));
}

// The text shown if there is nothing to review. Separate from the list, because during tracking it is updated every frame.
function drawNoReview() {
  const tracked = state.job?.job !== "track" && [...state.frames.values()].some(({ given, seen }) => seen.size > given.size);
  by("review-none").hidden = placesToReview().length > 0;
  by("review-none").textContent = !tracked && !isPicture() ? "after tracking" : state.checking ? "checking…" : "nothing stands out";
}

// The suggested frames that have not been masked in the meantime.
export const openSuggestions = () => state.suggest.filter(({ frame }) => {
  const found = state.frames.get(frame);
  return !found?.given.size && !found?.absent.size;
});

export function nextSuggestion() {
  const found = openSuggestions();
  const next = found[(found.findIndex(({ frame }) => frame === state.frame) + 1) % found.length];
  if (next) go(next.frame);
  else toast("No frame is suggested; track first.");
}

let suggested = [];
function drawSuggestions() {
  const open = openSuggestions();
  if (open.length === suggested.length && open.every((one, number) => one === suggested[number])) return;
  suggested = open;
  by("suggest").replaceChildren(...open.map(({ frame, gain }) => make("li", {}, make("button", {
    text: frame, onclick: () => go(frame), title: `A mask made by hand in frame ${frame} would resolve ${Math.round(gain * 100)}% of the doubt`,
  }))));
  by("suggest-title").hidden = !open.length;
}

on("review objects", drawReview);
on("review objects frames checking job", drawNoReview);
on("suggest frames", drawSuggestions);
