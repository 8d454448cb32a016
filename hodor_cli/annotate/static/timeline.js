// The strip below the picture: thumbnails, a row of confidences for each object, marks, and the frame in view.

import { openSuggestions, placesToReview } from "./advice.js";
import { by } from "./elements.js";
import { state, on, clampFrame } from "./state.js";
import { play } from "./transport.js";
import { go } from "./view.js";

const canvas = by("strip");
const THUMBS = 54, MARKS = 11, BAND = 36, FEW_ROWS = 3, MOST_ROWS = 12;   // the strip's height is fixed
const PICTURES = 48;   // along the whole video
const TALL = THUMBS + MARKS + BAND + 2, FEWEST = 20;                        // frames at the closest zoom

const layer = new OffscreenCanvas(1, 1);   // everything but the frame in view and the pointer; redrawn only when it changes
let stale = true;
let next = 0;              // when the layer may be redrawn during a job; drawing takes at most a fifth of the time
let range = { start: 0, count: 1 };        // the frames in view
const thumbs = new Map();    // frame -> ImageBitmap
let waiting = false;
let hovered = null;          // the frame under the pointer

// Fetch thumbnails from the whole video, one at a time. If the server is unreachable, the next connection continues.
export async function loadThumbs() {
  for (let number = 0; number < PICTURES; number += 1) {
    const index = state.video.start + Math.round((number * (total() - 1)) / (PICTURES - 1));
    if (thumbs.has(index)) continue;
    const answer = await fetch(`thumb/${index}`).catch(() => null);
    if (!answer) return;
    if (answer.ok) thumbs.set(index, await createImageBitmap(await answer.blob()));
    renew();
  }
}

const total = () => Math.max(1, state.video.end - state.video.start);
const width = () => canvas.clientWidth;
const each = () => width() / range.count;   // pixels per frame
const xOf = (index) => (index - range.start) * each();
const frameAt = (x) => clampFrame(Math.floor(range.start + x / Math.max(1e-6, each())));

// Bring `count` frames from `start` on into view.
function see(start, count) {
  range = { start: Math.max(state.video.start, Math.min(state.video.start + total() - count, start)), count };
  renew();
}

// Zoom around a position on the strip.
function zoom(factor, x) {
  const count = Math.min(total(), Math.max(FEWEST, range.count * factor));
  see(range.start + (x / width()) * (range.count - count), count);
}

// Zoom around the frame in view.
export const zoomTimeline = (factor) => zoom(1 / factor, xOf(state.frame));

export function wholeTimeline() {
  see(state.video.start, total());
}

// The objects whose rows are shown: the current one and those around it.
function rows() {
  const place = state.objects.findIndex(({ id }) => id === state.object), last = state.objects.length - MOST_ROWS;
  const first = Math.max(0, Math.min(last, place - MOST_ROWS / 2));
  return state.objects.slice(first, first + MOST_ROWS);
}

function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function renew() {
  stale = true;
  redraw();
}

// The context of a canvas of the strip's size, in CSS pixels.
function sized(target) {
  const dense = devicePixelRatio || 1;
  target.width = Math.max(1, Math.round(width() * dense));
  target.height = Math.round(TALL * dense);
  const context = target.getContext("2d");
  context.scale(dense, dense);
  return context;
}

function draw() {
  if (!state.video) return;
  const style = getComputedStyle(document.body), context = sized(canvas);
  const now = performance.now();
  if (stale && (!state.job || now >= next)) {
    drawLayer(style);
    stale = false;
    next = now + 5 * (performance.now() - now);
  } else if (stale) setTimeout(redraw, next - now);
  context.drawImage(layer, 0, 0, width(), TALL);
  const x = xOf(state.frame), wide = Math.max(2, each());
  context.fillStyle = style.getPropertyValue("--accent");
  context.globalAlpha = 0.35;
  context.fillRect(x, 0, wide, TALL);
  context.globalAlpha = 1;
  context.fillRect(x + wide / 2 - 1, 0, 2, TALL);
  if (hovered !== null) drawHovered(context, style);
}

function drawLayer(style) {
  const context = sized(layer);
  context.fillStyle = style.getPropertyValue("--field");
  context.fillRect(0, 0, width(), TALL);
  drawThumbs(context);
  drawMarks(context, style);
  const shown = rows(), tall = BAND / Math.max(FEW_ROWS, shown.length), gap = tall > 5 ? 3 : 1;
  shown.forEach((entry, number) => drawRow(context, entry, THUMBS + MARKS + number * tall, tall - gap, style));
  context.fillStyle = style.getPropertyValue("--text");
  for (const [index, { absent }] of state.frames) {
    shown.forEach(({ id }, number) => { if (absent.has(id)) context.fillRect(xOf(index), THUMBS + MARKS + number * tall, 2, tall - gap); });
  }
  if (range.count < total()) {   // a bar shows which part of the video is in view
    context.fillStyle = style.getPropertyValue("--accent");
    const wide = Math.max(12, (range.count / total()) * width());
    context.fillRect(((range.start - state.video.start) / (total() - range.count)) * (width() - wide), 0, wide, 4);
  }
}

function drawHovered(context, style) {
  const x = xOf(hovered) + each() / 2;
  context.font = "600 12px system-ui, sans-serif";
  const wide = context.measureText(hovered).width + 12, left = Math.max(0, Math.min(width() - wide, x - wide / 2));
  context.fillStyle = style.getPropertyValue("--text");
  context.fillRect(x - 0.5, 0, 1, TALL);
  context.beginPath();
  context.roundRect(left, 3, wide, 18, 5);
  context.fill();
  context.fillStyle = style.getPropertyValue("--panel");
  context.fillText(hovered, left + 6, 16);
}

function drawThumbs(context) {
  const any = thumbs.values().next().value;
  if (!any) return;
  const wide = Math.max(24, any.width), number = Math.ceil(width() / wide);
  const ready = [...thumbs.keys()].sort((a, b) => a - b);
  for (let slot = 0; slot < number; slot += 1) {
    const middle = frameAt((slot + 0.5) * wide);
    const nearest = ready.reduce((best, index) => (Math.abs(index - middle) < Math.abs(best - middle) ? index : best));
    context.drawImage(thumbs.get(nearest), slot * wide, 0, wide, THUMBS);
  }
}

function drawMarks(context, style) {
  const wide = Math.max(2, each());
  const middle = (index) => Math.max(5, Math.min(width() - 5, xOf(index) + wide / 2));   // marks of the first and last frame are not cut off
  const seen = (index) => index >= Math.floor(range.start) && index < range.start + range.count;
  const shape = (x, y, ...corners) => {
    context.beginPath();
    for (const [dx, dy] of corners) context.lineTo(x + dx, y + dy);
    context.fill();
  };
  context.fillStyle = style.getPropertyValue("--doubt");
  for (const { first, last } of placesToReview()) context.fillRect(xOf(first), THUMBS + 6, Math.max(wide, xOf(last + 1) - xOf(first)), 3);
  context.fillStyle = style.getPropertyValue("--accent");
  for (const { frame } of openSuggestions().filter(({ frame }) => seen(frame))) {
    shape(middle(frame), THUMBS + 4.5, [0, -4.5], [4.5, 0], [0, 4.5], [-4.5, 0]);
  }
  context.fillStyle = style.getPropertyValue("--text");
  let before = -1;
  for (let index = Math.floor(range.start); seen(index); index += 1) {
    const x = state.frames.get(index)?.given.size ? middle(index) : before;
    if (x - before > 0.5) shape(before = x, THUMBS + 1, [-4, 0], [4, 0], [0, 6]);   // one mark for all frames in a pixel
  }
}

const LOST = -1, BY_HAND = 2;

// What an object's row shows for some frames: LOST, the lowest confidence of tracking, or BY_HAND; undefined without masks.
function worst(id, first, last) {
  let value;
  for (let index = first; index < last; index += 1) {
    const found = state.frames.get(index), confidence = found?.seen.get(id);
    if (confidence !== undefined) value = Math.min(value ?? BY_HAND, found.given.has(id) ? BY_HAND : confidence);
  }
  return value;
}

// Draw an object's row: solid if made by hand, shaded by confidence if tracked, a grey line if lost.
function drawRow(context, { id, colour }, top, tall, style) {
  const own = `rgb(${colour.join(" ")})`, grey = style.getPropertyValue("--quiet"), step = Math.max(1, Math.floor(1 / each()));
  const end = Math.min(state.video.end, Math.ceil(range.start + range.count));
  for (let first = Math.floor(range.start); first < end; first += step) {
    const value = worst(id, first, Math.min(end, first + step)), lost = value === LOST;
    if (value === undefined) continue;
    const left = Math.round(xOf(first)), right = Math.max(left + 1, Math.round(xOf(first + step)));   // no seam between frames
    const high = value === BY_HAND ? 1 : lost ? 0.15 : Math.max(0.2, (value - 0.4) / 0.6);
    context.fillStyle = lost ? grey : own;
    context.globalAlpha = value === BY_HAND || lost ? 1 : 0.4 + 0.45 * value;
    context.fillRect(left, top + tall * (1 - high), right - left, tall * high);
  }
  context.globalAlpha = 1;
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  play(false);
  go(frameAt(event.offsetX));
});
canvas.addEventListener("pointermove", (event) => {
  hovered = frameAt(event.offsetX);
  if (event.buttons & 1) go(hovered);
  redraw();
});
for (const name of ["pointerleave", "pointercancel"]) canvas.addEventListener(name, () => { hovered = null; redraw(); });
canvas.addEventListener("dblclick", wholeTimeline);
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const across = event.shiftKey ? event.deltaX + event.deltaY : event.deltaX;
  if (Math.abs(across) >= Math.abs(event.deltaY)) see(range.start + across / each(), range.count);
  else zoom(Math.exp(event.deltaY * 0.003), event.offsetX);
}, { passive: false });
on("frame", () => {
  canvas.ariaValueNow = state.frame;
  redraw();
  const place = state.frame + 0.5 - range.start;
  if (place < 0 || place > range.count) see(state.frame - range.count / 2, range.count);
});
on("video", () => {
  canvas.ariaValueMin = state.video.start;
  canvas.ariaValueMax = state.video.end - 1;
  by("timeline").inert = false;
  wholeTimeline();
});
on("frames object objects review suggest theme", renew);
new ResizeObserver(renew).observe(canvas.parentElement);
