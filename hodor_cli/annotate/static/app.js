// The page: events of the server change the state, and the parts of the page draw themselves from it.

import "./keys.js";
import { exported, toast } from "./panel.js";
import { forgetMasks, keepMask, mask } from "./pictures.js";
import { connect, happen, leave, onEvent } from "./socket.js";
import { shown, learn, on, set, state, tell } from "./state.js";
import { loadThumbs } from "./timeline.js";
import { go, open, replaceMask, view } from "./view.js";

const SAVED = {
  saved: "Every change is on the disk",
  "saving…": "",
  "no connection": "hodor annotate does not answer; if it has ended, start it again and open the address that it prints",
};
let tries = 0;
let missed = 0;        // attempts to connect that failed
let requests = 0;      // edits and jobs sent over this connection
let followed = null;   // the frame of tracking that was gone to; who leaves it, draws or edits is left alone

onEvent("hello", (event) => {
  document.getElementById("busy-sheet").close();
  tries = missed = 0;
  const { name, width, height, fps, start, end, folder } = event;
  const again = state.video !== null;
  state.frames.clear();
  event.frames.forEach(learn);
  forgetMasks();
  set({ video: { name, width, height, fps, start, end, folder }, exports: event.exports, review: event.review, suggest: event.suggest, ready: event.ready });
  document.title = `${name} - hodor annotate`;
  document.getElementById("name").textContent = name;
  document.getElementById("name").title = folder;
  if (!again) {
    set({ brush: Math.max(2, Math.round(Math.min(width, height) / 30)) });
    open();
    event.warnings.forEach((text) => toast(text));
    loadThumbs();
  }
  changed(event);
  followed = null;
  set({ job: event.job ? { job: event.job } : null });
  tell("frames", "tool", "brush", "ready", "opacity");
  const first = [...state.frames.keys()].sort((a, b) => a - b)[0];
  view.shown = -1;
  const left = sessionStorage.getItem(`frame of ${folder}`);   // where this tab was before it was loaded again
  go(again ? state.frame : Number(left ?? first ?? start));
  view.sent = [];
  requests = 0;
  say("saved");
});

// Say what is saved: a key of SAVED.
function say(text) {
  const shown = document.getElementById("saved");
  shown.textContent = text;
  shown.title = SAVED[text];
  shown.className = text === "no connection" ? "bad" : "";
}

// Objects and history; `select` is the object that a command made current.
function changed(event) {
  const objects = event.objects.map((entry) => ({ ...entry, colour: shown(entry.colour) }));
  const ids = objects.map((entry) => entry.id);
  const object = event.select ?? (ids.includes(state.object) || !ids.length ? state.object : ids[0]);
  const fresh = JSON.stringify(objects) !== JSON.stringify(state.objects) || !ids.length;
  set({ ...(fresh && { objects }), ...(object !== state.object && { object }), undo: event.undo, redo: event.redo });
}
onEvent("changed", (event) => { view.sent.shift(); changed(event); });

// An edit is pending until the server has answered it; everything is saved when nothing is pending.
onEvent("sent", (message) => {
  if (["hello", "stop"].includes(message.do)) return;
  requests += 1;
  if (state.job && message.do !== "hide") followed = -1;
  if (["adapt", "export"].includes(message.do)) return;
  view.sent.push(null);
  if (message.do !== "track") say("saving…");   // what is tracked is saved frame by frame
});
onEvent("saved", (event) => {
  if (event.requests !== requests) return;   // more is on its way
  view.sent = [];
  say("saved");
});
onEvent("unsent", async () => {
  view.sent = [];
  toast("There is no connection, so the last change is lost. If hodor annotate has ended, start it again: all that was saved is there.", "bad");
  if (view.shown >= 0) replaceMask(await mask(view.shown).catch(() => null));
});

onEvent("frame", (event, runs) => {
  learn(event.state);
  keepMask(event.frame, runs);
  tell("frames");
  if (event.frame === view.shown) {
    if (event.clicks) view.clicks = event.clicks;
    if (runs) replaceMask(runs);
  }
  if (event.streamed && !view.drawing() && (followed === null || followed === state.frame)) {   // tracking is watched
    followed = event.frame;
    if (event.frame !== view.shown) go(event.frame);
  }
});

onEvent("frames", async ({ states }) => {
  states.forEach(learn);
  forgetMasks();
  view.clicks = [];
  tell("frames");
  if (view.shown >= 0) replaceMask(await mask(view.shown));
});

// A change that was made from the frame `first` to `last`; it is shown if the frame in view does not show it.
onEvent("notice", ({ text, first, last }) => {
  toast(text);
  if (first !== null && (state.frame < first || state.frame > last)) go(first);
});

onEvent("progress", (event) => set({ job: event }));
onEvent("done", (event) => {
  set({ job: null, ...(event.job === "track" && { checking: true }) });
  followed = null;
  toast(event.text);
  if (event.job === "export" && !event.stopped) exported(event);
});
onEvent("advice", ({ review, suggest }) => set({ review, suggest, checking: false }));
onEvent("ready", () => set({ ready: true }));
onEvent("error", async ({ text }) => {
  set({ job: null, checking: false });
  view.sent.shift();
  toast(text, "bad");
  if (view.shown < 0) return;
  view.clicks = [];   // remove what was drawn before the server answered
  replaceMask(await mask(view.shown));
});

onEvent("busy", () => {
  // A reloaded page can connect before the server notices that its predecessor is gone.
  if (tries++ < 3) { leave(); setTimeout(connect, 300); return; }
  ask("This project is open in another tab or window.");
});
onEvent("taken", () => ask("This project is now open in another tab or window."));

function ask(text) {
  leave();
  document.getElementById("busy-text").textContent = text;
  document.getElementById("busy-sheet").showModal();
}
document.getElementById("take").addEventListener("click", () => connect({ take: true }));
document.getElementById("busy-sheet").addEventListener("cancel", (event) => event.preventDefault());

onEvent("offline", () => {
  if (view.sent.length > (state.job?.job === "track")) happen("unsent");   // what was tracked is saved
  say("no connection");
  if (++missed === 3) toast(`${SAVED["no connection"]}.`, "bad");
  set({ job: null });
});

on("frame", () => sessionStorage.setItem(`frame of ${state.video.folder}`, state.frame));

document.addEventListener("reload-mask", async () => replaceMask(await mask(view.shown)));

connect();
