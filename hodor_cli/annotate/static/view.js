// The canvas: which frame it shows, zoom and pan, and what is drawn over the frame.

import { by } from "./elements.js";
import { LabelMap } from "./labels.js";
import { cross, dot } from "./marks.js";
import { mask, picture } from "./pictures.js";
import { EVERYTHING, join, widen, within } from "./rectangles.js";
import { state, on, set, notify, clampFrame } from "./state.js";
import { toast } from "./toasts.js";

const canvas = by("view");
const context = canvas.getContext("2d", { alpha: false });
const LEAST = 0.05, MOST = 40;

export const view = {
  canvas,
  map: null,               // the LabelMap of the frame in view
  shown: -1,               // the frame in view; `state.frame` is the one to show next
  scale: 1, x: 0, y: 0,    // screen = frame * scale + (x, y), in CSS pixels
  stroke: null,            // the Coverage of the brush in use
  preview: null,           // draws a tool's own lines: (context, unit) => {}
  drawing: () => false,    // whether a tool is drawing, so that the frame in view must stay
  clicks: [],              // [x, y, positive]: the clicks that made the mask in view
  sent: [],                // {message} of edits and jobs that are not answered yet; for strokes also {coverage}, for new objects {adds: id}
};

let image = null;          // the picture of the frame in view; null if there is none
let fitted = false;        // whether the whole frame stays in view when the canvas is resized
let dense = 1;             // screen pixels per CSS pixel
let marked = false;        // whether clicks were marked when the frame was last drawn
let dirty = null;          // the rectangle of the frame to draw with the next screen refresh

export function open() {
  const { width, height } = state.video;
  view.map = new LabelMap(width, height);
  view.map.recolour();
  view.shown = -1;
  resize();
  fit();
}

export function fit() {
  const box = canvas.getBoundingClientRect();
  if (!state.video || !box.width) return;
  const { width, height } = state.video;
  view.scale = Math.min((box.width - 24) / width, (box.height - 24) / height);
  view.x = (box.width - width * view.scale) / 2;
  view.y = (box.height - height * view.scale) / 2;
  frameFitted(true);
}

function frameFitted(now) {
  fitted = now;
  by("fit").hidden = now;
  redraw();
}

const middle = () => ({ x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 });
const onScreen = ({ x, y }) => ({ x: x * view.scale + view.x, y: y * view.scale + view.y });
const onFrame = ({ x, y }) => ({ x: (x - view.x) / view.scale, y: (y - view.y) / view.scale });

// The place in the frame at the middle of the canvas.
export const seen = () => onFrame(middle());

// Zoom by a factor around a point of the canvas; by default the crosshair, or else the middle.
export function zoom(factor, at = state.crosshair ? onScreen(state.crosshair) : middle()) {
  const { x, y } = at;
  // `fit` may go beyond the limits for a very small or large frame; from there the zoom goes only back.
  const scale = Math.max(Math.min(LEAST, view.scale), Math.min(Math.max(MOST, view.scale), view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  frameFitted(false);
}

export function pan(dx, dy) {
  view.x += dx;
  view.y += dy;
  frameFitted(false);
}

// Move the picture just enough to bring a place of the frame into view.
export function reveal(at) {
  const { x, y } = onScreen(at), border = 10;
  const dx = Math.max(border, Math.min(canvas.clientWidth - border, x)) - x;
  const dy = Math.max(border, Math.min(canvas.clientHeight - border, y)) - y;
  if (dx || dy) pan(dx, dy);
}

// A pointer event's place in pixels of the frame. box: the canvas's, measured once for many events.
export const place = ({ clientX, clientY }, box = canvas.getBoundingClientRect()) => onFrame({ x: clientX - box.left, y: clientY - box.top });

export const inside = ({ x, y }) => x >= 0 && y >= 0 && x < state.video.width && y < state.video.height;

const mustStay = () => view.drawing() && view.shown >= 0;

// Show a frame. To avoid flicker, the frame in view stays until picture and mask have both arrived; of the frames
// requested in the meantime, only the last is loaded.
let loading = false;
export async function go(index) {
  if (!state.video) return;
  set({ frame: mustStay() ? view.shown : clampFrame(index) });
  if (loading) return;
  loading = true;
  try {
    while (view.shown !== state.frame) {
      const wanted = state.frame, step = wanted - view.shown;
      let bitmap = null, runs = null;
      try {
        [bitmap] = await Promise.all([picture(wanted), mask(wanted)]);
        runs = await mask(wanted);   // again, because it may have changed while the picture was loading
      } catch (error) {
        if (away(error)) { if (view.shown >= 0) set({ frame: view.shown }); return; }
        trouble(error);
      }
      if (mustStay()) set({ frame: view.shown });
      if (state.frame === view.shown) return;   // the frame in view is being drawn in, or was edited meanwhile
      show(wanted, bitmap, runs);
      if (bitmap && Math.abs(step) <= 12 && !state.job) picture(clampFrame(wanted + step)).catch(() => {});   // likely the next one
    }
  } finally {
    loading = false;
  }
}

function show(index, bitmap, runs) {
  if (view.shown !== index) view.clicks = [];
  image = bitmap;
  view.shown = index;
  replaceMask(runs);
  redraw();
  notify("shown");
}

// Whether an error means that the server is unreachable; the view then stays as it is until the server answers again.
const away = (error) => error instanceof TypeError;
const trouble = ({ message }) => toast(message, "bad");

// Show the masks of the frame in view as the server has them.
export async function reloadMask() {
  const frame = view.shown;
  if (frame < 0) return;
  try {
    const runs = await mask(frame);
    if (frame === view.shown) replaceMask(runs);
  } catch (error) {
    if (!away(error)) trouble(error);
  }
}

// Edits of the frame in view that the server has not answered.
const underWay = () => view.sent.filter(({ message }) => message.frame === view.shown);
const clicksUnderWay = () => underWay().filter(({ message }) => message.do === "click").map(({ message: { x, y, positive } }) => [x, y, positive]);
const clicksToMark = () => [...view.clicks, ...clicksUnderWay()];

// Replace the masks of the frame in view; strokes that are being drawn or that the server has not answered stay on top.
export function replaceMask(runs) {
  const strokes = [...underWay().map(({ coverage }) => coverage), view.stroke].filter(Boolean);
  const changed = view.map.load(runs, strokes);
  if (marked || clicksToMark().length) redraw();
  else if (changed) redraw(widen(changed, view.map.thick));
}

// Redraw with the next screen refresh: everything, or a rectangle in pixels of the frame.
export function redraw(part = EVERYTHING) {
  if (!dirty) requestAnimationFrame(draw);
  dirty = join(dirty, part);
}

function draw() {
  if (!dirty) return;   // already drawn
  // On the screen: whole pixels with a small margin, so that no seam is visible.
  const corner = onScreen({ x: dirty.x0, y: dirty.y0 }), other = onScreen({ x: dirty.x1, y: dirty.y1 });
  const part = within(widen({ x0: corner.x * dense, y0: corner.y * dense, x1: other.x * dense, y1: other.y * dense }, 3), canvas);
  dirty = null;
  if (!part) return;
  context.save();
  context.beginPath();
  context.rect(part.x0, part.y0, part.x1 - part.x0, part.y1 - part.y0);
  context.clip();
  context.fillStyle = getComputedStyle(document.body).getPropertyValue("--stage");
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (state.video) drawFrame(part);
  context.restore();
}

// Draw a part of the frame, given in screen pixels, and everything over it.
function drawFrame(part) {
  const scale = view.scale * dense, unit = 1 / view.scale;
  context.setTransform(scale, 0, 0, scale, view.x * dense, view.y * dense);
  context.imageSmoothingEnabled = scale < 3;
  context.imageSmoothingQuality = "high";
  const { width, height } = state.video;
  if (image) context.drawImage(image, 0, 0, width, height);
  else { context.fillStyle = "#333"; context.fillRect(0, 0, width, height); }
  context.imageSmoothingQuality = "low";   // a higher one would resize the whole map for every part of it
  const corner = onFrame({ x: part.x0 / dense, y: part.y0 / dense }), other = onFrame({ x: part.x1 / dense, y: part.y1 / dense });
  view.map.draw(context, widen({ x0: corner.x, y0: corner.y, x1: other.x, y1: other.y }, 2));
  const clicks = clicksToMark();
  for (const click of clicks) dot(context, click, unit);
  marked = clicks.length > 0;
  view.preview?.(context, unit);
  if (state.crosshair) cross(context, state.crosshair, unit);
}

function resize() {
  const box = canvas.parentElement.getBoundingClientRect();
  dense = devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(box.width * dense));
  canvas.height = Math.max(1, Math.round(box.height * dense));
  if (fitted) fit();
  else redraw();
  draw();   // immediately, because resizing has cleared the canvas
}

on("theme", () => redraw());
new ResizeObserver(resize).observe(canvas.parentElement);
addEventListener("resize", resize);   // also when the window moves to a screen with another pixel density
on("objects object opacity outline", () => {
  if (!view.map) return;
  view.map.recolour();
  redraw();
});
