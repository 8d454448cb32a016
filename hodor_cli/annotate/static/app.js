// The page: events from the server change the state, and the parts of the page redraw themselves from the state.

import "./keys.js";
import { placesToReview } from "./advice.js";
import { by } from "./elements.js";
import { exported } from "./exports.js";
import { JOBS } from "./jobs.js";
import { adding } from "./objects.js";
import { forgetMasks, keepMask } from "./pictures.js";
import { connect, onEvent } from "./socket.js";
import { learn, on, pageColour, set, state, notify } from "./state.js";
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
let missed = 0;        // failed attempts to connect
let followed = null;   // the tracked frame shown last; STAY once the user leaves it, draws or edits
let begun = null;      // the frame to return to after tracking the whole video; null for other jobs
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
  notify("frames", "tool", "brush", "ready", "opacity");
  view.sent = [];
  view.clicks = [];
  say("saved");
  const first = [...state.frames.keys()].sort((a, b) => a - b)[0];
  const left = sessionStorage.getItem(`frame of ${folder}`);   // where this tab was before it was reloaded
  if (again) reloadMask();
  go(again ? state.frame : Number(left ?? first ?? start));
});

// Problems with the video or with masks, some of which may have been shown already.
const warned = new Set();
onEvent("warnings", ({ texts }) => {
  texts.filter((text) => !warned.has(text)).forEach((text) => { warned.add(text); toast(text); });
});

// Show whether everything is saved. text: a key of SAVED.
function say(text) {
  by("saved").textContent = text;
  by("saved").title = SAVED[text];
  by("saved").className = text === "no connection" ? "bad" : "";
}

// Update the objects and history; `select` is the object that a command made current.
function changed(event) {
  const coloured = (entry) => ({ ...entry, colour: pageColour(entry.colour) });
  const objects = event.objects.map(coloured);
  const ids = objects.map((entry) => entry.id);
  const object = event.select ?? (ids.includes(state.object) || !ids.length || adding() ? state.object : ids[0]);
  const differ = JSON.stringify(objects) !== JSON.stringify(state.objects) || !ids.length;
  set({ fresh: coloured(event.fresh), ...(differ && { objects }), ...(object !== state.object && { object }), undo: event.undo, redo: event.redo });
}
onEvent("changed", changed);
on("undo redo corners", () => { by("undo").disabled = !state.undo && !state.corners.length; by("redo").disabled = !state.redo; });

// Everything is saved once the server has answered all edits. Jobs save frame by frame.
onEvent("sent", (message) => {
  if (["hello", "stop"].includes(message.do)) return;
  view.sent.push({ message });
  if (message.do in JOBS) {
    followed = null;
    begun = message.direction === "both" ? message.frame : null;
    return;
  }
  if (state.job && message.do !== "hide") followed = STAY;
  if (message.frame === view.shown) set({ frame: view.shown });   // keep the edited frame in view
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
  toast(`There is no connection, so the last change ${certainly} lost. If hodor annotate has ended, start it again; everything saved before is kept.`, "bad");
  reloadMask();
  notify("objects");   // the names as they were
}

onEvent("frame", (event, runs) => {
  learn(event.state);
  keepMask(event.frame, runs);
  notify("frames");
  if (event.frame === view.shown) {
    if (event.clicks) view.clicks = event.clicks;
    if (runs) replaceMask(runs);
    else reloadMask();
  }
  if (event.streamed && !view.drawing() && (followed === null || followed === state.frame)) {   // the user is watching the tracking
    followed = event.frame;
    if (event.frame !== view.shown) go(event.frame);
  }
});

onEvent("frames", ({ states }) => {
  states.forEach(learn);
  forgetMasks();
  view.clicks = [];
  notify("frames");
  reloadMask();
});

// A change in the frames `first` to `last`; go there unless the frame in view is one of them.
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
  if (asked && length) toast(`${length === 1 ? "One place" : `${length} places`} to review; press K or the flag below to go to the next one.`);
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
  if (editsUnderWay()) lost("may be");   // the server may have carried them out
  say("no connection");
  if (++missed === 3) toast(`${SAVED["no connection"]}.`, "bad");
  set({ job: null });
});

on("frame", () => sessionStorage.setItem(`frame of ${state.video.folder}`, state.frame));

connect();
