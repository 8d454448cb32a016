// Mouse, pen and fingers on the canvas.

import { endCrosshair } from "./crosshair.js";
import { state } from "./state.js";
import { drop, hover, move, press, release } from "./tools.js";
import { view, pan, place, zoom } from "./view.js";

const canvas = view.canvas;
const fingers = new Map();   // pointer id of each touch -> its latest place on the screen
let active = null;           // the id of the pointer that uses a tool; others, such as a hand next to the pen, are ignored
let spaceHeld = false;
let penned = false;          // a pen has been used, so fingers move the picture

export function holdSpace(down) {
  spaceHeld = down;
  canvas.dataset.tool = down ? "hand" : state.tool;
}

canvas.addEventListener("pointerdown", (event) => {
  if (!state.video || view.shown < 0) return;
  endCrosshair();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  const finger = event.pointerType === "touch";
  if (finger) fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  const gesture = finger && fingers.size > 1;   // two fingers zoom and move
  if (gesture && fingers.has(active)) { drop(); active = null; }
  if (gesture || active !== null) return;
  active = event.pointerId;
  penned ||= event.pointerType === "pen";
  const hand = event.button === 1 || spaceHeld || (penned && finger);
  if (event.button === 1) event.preventDefault();
  press(place(event), event, hand ? "hand" : state.tool);
});

canvas.addEventListener("pointermove", (event) => {
  if (!state.video || (active !== null && active !== event.pointerId)) return;
  if (active === null && fingers.size > 1 && fingers.has(event.pointerId)) { pinch(event); return; }
  if (fingers.has(event.pointerId)) fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  const box = canvas.getBoundingClientRect();
  hover(place(event, box));
  if (active === null) return;
  const moves = event.getCoalescedEvents?.() ?? [];   // a quick pen moves many times between two screen refreshes
  for (const one of moves.length ? moves : [event]) move(place(one, box), one);
});

function pinch(event) {
  const before = [...fingers.values()];
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  const after = [...fingers.values()];
  const middle = ([a, b]) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  const wide = ([a, b]) => Math.hypot(a.x - b.x, a.y - b.y) || 1;
  const box = canvas.getBoundingClientRect(), was = middle(before), now = middle(after);
  pan(now.x - was.x, now.y - was.y);
  zoom(wide(after) / wide(before), { x: now.x - box.left, y: now.y - box.top });
}

function lift(event, end) {
  fingers.delete(event.pointerId);
  if (active !== event.pointerId) return;
  active = null;
  end(place(event), event);
}

canvas.addEventListener("pointerup", (event) => lift(event, release));
canvas.addEventListener("pointercancel", (event) => lift(event, drop));
canvas.addEventListener("pointerleave", () => hover(null));
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = canvas.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), { x: event.clientX - box.left, y: event.clientY - box.top });
}, { passive: false });
