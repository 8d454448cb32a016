// The page: events of the server change the state, and the parts of the page draw themselves from it.

import "./keys.js";
import { placesToReview } from "./advice.js";
import { by } from "./elements.js";
import { exported } from "./exports.js";
import { JOBS } from "./jobs.js";
import { forgetMasks, keepMask } from "./pictures.js";
import { connect, onEvent } from "./socket.js";
import { learn, on, pageColour, set, state, tell } from "./state.js";
import "./tabs.js";
import { loadThumbs } from "./timeline.js";
import { toast } from "./toasts.js";
import { play } from "./transport.js";
import { go, open, reloadMask, replaceMask, view } from "./view.js";

const SAVED = {
  saved: "Every change is on the disk",
  "saving…": "",
  "no connection": "No answer from hodor annotate; if it has ended, start it again and open the address that it prints",
};
let missed = 0;        // attempts to connect that failed
let followed = null;   // the frame of tracking that was gone to; STAY once the user leaves it, draws or edits
let begun = null;      // the frame to come back to when the whole video was tracked; null for other jobs
const STAY = -1;

onEvent("hello", (event) => {
  missed = 0;
  const { name, width, height, fps, start, end, folder } = event;
  const again = state.video !== null;
  state.frames.clear();
  event.frames.forEach(learn);
  forgetMasks();
  const { exports, review, suggest, ready } = event;
  set({ video: { name, width, height, fps, start, end, folder }, exports, review, suggest, ready });
  document.title = `${name} - hodor annotate`;
  by("name").textContent = name;
  by("name").title = folder;
  changed(event);
  if (!again) {
    set({ brush: Math.max(2, Math.round(Math.min(width, height) / 30)) });
    open();
  }
  loadThumbs();
  followed = begun = null;
  set({ job: event.job ? { job: event.job } : null });
  tell("frames", "tool", "brush", "ready", "opacity");
  view.sent = [];
  view.clicks = [];
  say("saved");
  const first = [...state.frames.keys()].sort((a, b) => a - b)[0];
  const left = sessionStorage.getItem(`frame of ${folder}`);   // where this tab was before it was loaded again
  if (again) reloadMask();
  go(again ? state.frame : Number(left ?? first ?? start));
});

// What is wrong with the video: all that is known by now, of which some may have been told.
const warned = new Set();
onEvent("warnings", ({ texts }) => {
  texts.filter((text) => !warned.has(text)).forEach((text) => { warned.add(text); toast(text); });
});

// Say what is saved: a key of SAVED.
function say(text) {
  by("saved").textContent = text;
  by("saved").title = SAVED[text];
  by("saved").className = text === "no connection" ? "bad" : "";
}

// Objects and history; `select` is the object that a command made current.
function changed(event) {
  const coloured = (entry) => ({ ...entry, colour: pageColour(entry.colour) });
  const objects = event.objects.map(coloured);
  const ids = objects.map((entry) => entry.id);
  const object = event.select ?? (ids.includes(state.object) || !ids.length ? state.object : ids[0]);
  const differ = JSON.stringify(objects) !== JSON.stringify(state.objects) || !ids.length;
  set({ fresh: coloured(event.fresh), ...(differ && { objects }), ...(object !== state.object && { object }), undo: event.undo, redo: event.redo });
}
onEvent("changed", changed);
on("undo redo corners", () => { by("undo").disabled = !state.undo && !state.corners.length; by("redo").disabled = !state.redo; });

// Everything is saved when the server has answered all edits. What a job makes is saved frame by frame.
onEvent("sent", (message) => {
  if (["hello", "stop"].includes(message.do)) return;
  view.sent.push({ message });
  if (message.do in JOBS) {
    followed = null;
    begun = message.direction === "both" ? message.frame : null;
    return;
  }
  if (state.job && message.do !== "hide") followed = STAY;
  if (message.frame === view.shown) set({ frame: view.shown });   // the frame that is edited stays in view
  say("saving…");
});
onEvent("answered", () => {
  view.sent.shift();
  if (!editsUnderWay()) say("saved");
});
const editsUnderWay = () => view.sent.some(({ message }) => !(message.do in JOBS));

onEvent("unsent", (message) => { if (message.do !== "hello" && message.do !== "stop") lost("is"); });
function lost(certainly) {
  view.sent = [];
  toast(`There is no connection, so the last change ${certainly} lost. If hodor annotate has ended, start it again: all that was saved is there.`, "bad");
  reloadMask();
}

onEvent("frame", (event, runs) => {
  learn(event.state);
  keepMask(event.frame, runs);
  tell("frames");
  if (event.frame === view.shown) {
    if (event.clicks) view.clicks = event.clicks;
    if (runs) replaceMask(runs);
    else reloadMask();
  }
  if (event.streamed && !view.drawing() && (followed === null || followed === state.frame)) {   // tracking is watched
    followed = event.frame;
    if (event.frame !== view.shown) go(event.frame);
  }
});

onEvent("frames", ({ states }) => {
  states.forEach(learn);
  forgetMasks();
  view.clicks = [];
  tell("frames");
  reloadMask();
});

// A change that was made from the frame `first` to `last`; it is shown if the frame in view does not show it.
onEvent("notice", ({ text, first, last }) => {
  toast(text);
  if (first !== null && (state.frame < first || state.frame > last)) go(first);
});

onEvent("progress", (event) => set({ job: event }));
onEvent("done", (event) => {
  set({ job: null, ...(event.job === "track" && { checking: true }) });
  toast(event.text);
  if (begun !== null && followed === state.frame && !event.stopped) go(begun);
  if (event.job === "export" && !event.stopped) exported(event);
});
onEvent("advice", ({ review, suggest }) => {
  const asked = state.checking;   // after tracking
  set({ review, suggest, checking: false });
  const { length } = placesToReview();
  if (asked && length) toast(`${length === 1 ? "One place" : `${length} places`} to review: the flag below (K) goes to the next one.`);
});
onEvent("ready", () => set({ ready: true }));
on("ready", () => { by("wait").hidden = state.ready; });
onEvent("error", ({ text }) => {
  set({ job: null, checking: false });
  toast(text, "bad");
  forgetMasks();
  reloadMask();   // without what was drawn before the server answered
});

onEvent("offline", () => {
  play(false);
  if (editsUnderWay()) lost("may be");   // the server may have carried it out
  say("no connection");
  if (++missed === 3) toast(`${SAVED["no connection"]}.`, "bad");
  set({ job: null });
});

on("frame", () => sessionStorage.setItem(`frame of ${state.video.folder}`, state.frame));

connect();
