// The crosshair: a pointer for working without a mouse. The arrow keys move it, Enter presses.

import { state, on, set } from "./state.js";
import { cancel, holding, move, press, release } from "./tools.js";
import { view, pan, redraw, reveal, seen } from "./view.js";

const FAR = 16, NEAR = 2;   // screen pixels per key press
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

// Move the crosshair by an arrow key; with the hand tool, move the picture instead.
export function moveCrosshair(key, far = true) {
  const [right, down] = WAYS[key].map((way) => way * (far ? FAR : NEAR));
  if (state.tool === "hand") { pan(-right, -down); return; }
  const { x, y } = state.crosshair;
  set({ crosshair: clip({ x: x + right / view.scale, y: y + down / view.scale }) });
  move(state.crosshair);
  reveal(state.crosshair);
}

// Press at the crosshair, or release an earlier press.
export function pressCrosshair(removing = false) {
  if (state.tool === "hand" || view.shown < 0) return;
  const event = { button: 0, altKey: removing };
  if (holding()) release(state.crosshair, event);
  else press(state.crosshair, event);
}

on("crosshair", redraw);
