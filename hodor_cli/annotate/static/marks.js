// The marks drawn over the frame: clicks and the crosshair. unit: the size of a screen pixel in pixels of the frame.

import { state } from "./state.js";

// Lines across the whole frame, with a gap at the place itself.
export function cross(context, { x, y }, unit) {
  const { width, height } = state.video, gap = 6 * unit;
  context.beginPath();
  for (const [from, to] of [[0, x - gap], [x + gap, width]]) { context.moveTo(from, y); context.lineTo(to, y); }
  for (const [from, to] of [[0, y - gap], [y + gap, height]]) { context.moveTo(x, from); context.lineTo(x, to); }
  for (const [colour, thick] of [["#000a", 3], ["#fff", 1]]) {
    context.strokeStyle = colour;
    context.lineWidth = thick * unit;
    context.stroke();
  }
}

// A click: a plus where it adds, a minus where it removes.
export function dot(context, [x, y, positive], unit) {
  context.beginPath();
  context.arc(x, y, 6 * unit, 0, 2 * Math.PI);
  context.fillStyle = positive ? "#19a974" : "#e0483e";
  context.fill();
  context.lineWidth = 2 * unit;
  context.strokeStyle = "#fff";
  context.stroke();
  context.beginPath();
  context.moveTo(x - 3 * unit, y);
  context.lineTo(x + 3 * unit, y);
  if (positive) { context.moveTo(x, y - 3 * unit); context.lineTo(x, y + 3 * unit); }
  context.stroke();
}
