// The crosshair: a pointer for those who work without a mouse. The arrow keys move it, Enter presses there.

import { state, on, set } from "./state.js";
import { cancel, holding, move, press, release } from "./tools.js";
import { view, pan, redraw, reveal, seen } from "./view.js";

const FAR = 16, NEAR = 2;   // pixels of the screen that a key moves it
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
export function toggleCrosshair() {
  if (state.crosshair) { endCrosshair(); return; }
  if (view.shown < 0) return;
  view.canvas.focus({ preventScroll: true });
  set({ crosshair: clip(seen()) });
}

export function endCrosshair() {
  if (!state.crosshair) return;
  cancel();
  set({ crosshair: null });
}

const clip = ({ x, y }) => ({
  x: Math.max(0, Math.min(state.video.width - 1, x)),
  y: Math.max(0, Math.min(state.video.height - 1, y)),
});

// Move it by an arrow key; the hand moves the picture instead.
export function moveCrosshair(key, far = true) {
  const [right, down] = WAYS[key].map((way) => way * (far ? FAR : NEAR));
  if (state.tool === "hand") { pan(-right, -down); return; }
  const { x, y } = state.crosshair;
  set({ crosshair: clip({ x: x + right / view.scale, y: y + down / view.scale }) });
  move(state.crosshair);
  reveal(state.crosshair);
}

// Press at the crosshair, or release what an earlier press began.
export function pressCrosshair(removing = false) {
  if (state.tool === "hand" || view.shown < 0) return;
  const event = { button: 0, altKey: removing };
  if (holding()) release(state.crosshair, event);
  else press(state.crosshair, event);
}

on("crosshair", redraw);
