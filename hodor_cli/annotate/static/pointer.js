// The mouse, the pen and the fingers on the canvas.

import { endCrosshair } from "./crosshair.js";
import { state } from "./state.js";
import { drop, hover, move, press, release } from "./tools.js";
import { view, pan, place, zoom } from "./view.js";

const canvas = view.canvas;
const fingers = new Map();   // id -> last place on the screen, of touches
let spaceHeld = false;
let penned = false;          // a pen draws here, so fingers move the picture

export function holdSpace(down) {
  spaceHeld = down;
  canvas.dataset.tool = down ? "hand" : state.tool;
}

canvas.addEventListener("pointerdown", (event) => {
  if (!state.video || view.shown < 0) return;
  endCrosshair();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  if (event.pointerType === "touch") {
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (fingers.size > 1) { drop(); return; }   // two fingers zoom and move
  }
  penned ||= event.pointerType === "pen";
  const hand = event.button === 1 || spaceHeld || (penned && event.pointerType === "touch");
  if (event.button === 1) event.preventDefault();
  press(place(event), event, hand ? "hand" : state.tool);
});

canvas.addEventListener("pointermove", (event) => {
  if (!state.video) return;
  hover(place(event));
  if (event.pointerType === "touch" && fingers.size > 1) { pinch(event); return; }
  if (state.crosshair) return;   // it is the crosshair that draws
  const moves = event.getCoalescedEvents?.() ?? [];
  for (const one of moves.length ? moves : [event]) move(place(one), one);
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

canvas.addEventListener("pointerup", (event) => { fingers.delete(event.pointerId); release(place(event), event); });
canvas.addEventListener("pointercancel", (event) => { fingers.delete(event.pointerId); drop(); });
canvas.addEventListener("pointerleave", () => hover(null));
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = canvas.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), { x: event.clientX - box.left, y: event.clientY - box.top });
}, { passive: false });
