// Going through the frames: playing, the frame's number, and the frames to review and to mask next.

import { by } from "./elements.js";
import { state, on } from "./state.js";
import { toast } from "./toasts.js";
import { go } from "./view.js";

const button = by("play"), number = by("frame");
const PLAY = "M5 3v14l12-7z", PAUSE = "M4 3h4v14H4zM12 3h4v14h-4z";
let playing = null;

// Play at the video's frame rate, and skip frames that arrive late. Going to a frame otherwise ends it.
export async function play(wish = !playing) {
  if (!wish || playing || !state.video) { playing = null; show(); return; }
  const mine = {}, last = state.video.end - 1;
  playing = mine;
  show();
  if (state.frame >= last) await go(state.video.start);
  const began = performance.now(), first = state.frame;
  let at = first;
  while (playing === mine && state.frame === at && at < last) {
    const due = Math.min(last, first + Math.floor(((performance.now() - began) / 1000) * state.video.fps));
    if (due > at) {
      at = due;
      await go(at);
    }
    await new Promise(requestAnimationFrame);
  }
  if (playing === mine) playing = null;
  show();
}

function show() {
  button.setAttribute("aria-pressed", Boolean(playing));
  button.querySelector("path").setAttribute("d", playing ? PAUSE : PLAY);
}

export function nextReview(way) {
  const starts = [...new Set(state.review.map((item) => item.first))].sort((a, b) => a - b);
  const found = way > 0 ? starts.find((index) => index > state.frame) : starts.reverse().find((index) => index < state.frame);
  if (found !== undefined) go(found);
  else toast(starts.length ? `There is nothing to review ${way > 0 ? "after" : "before"} this frame.` : "There is nothing to review.");
}

// Suggested frames that have not been masked since.
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

number.addEventListener("change", () => go(Number(number.value) || 0));
on("frame", () => { number.value = state.frame; });
on("video", () => {
  number.min = state.video.start;
  number.max = state.video.end - 1;
  by("of").textContent = `of ${state.video.end - 1}`;
});
