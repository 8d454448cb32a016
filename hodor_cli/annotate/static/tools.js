// The tools on the canvas, for mouse, pen and fingers. A tool gets positions in pixels of the frame.

import { Coverage } from "./labels.js";
import { send } from "./socket.js";
import { current, hide } from "./panel.js";
import { state, set, on, freeId } from "./state.js";
import { view, inside, pan, place, redraw, zoom } from "./view.js";

const canvas = view.canvas;
const BRUSHES = ["brush", "eraser"];
const fingers = new Map();      // id -> last place on the screen, of touches
let held = null;                // the tool in use: {move, up, cancel}, each of which it may lack
let spaceHeld = false;
let corners = [];               // of the polygon being drawn
let pointer = null;             // where the pointer is, in pixels of the frame
let penned = false;             // a pen draws here, so fingers move the picture

const colourOf = (id) => {
  const entry = state.objects.find((one) => one.id === id);
  return entry ? `rgb(${entry.colour.join(" ")})` : "#ffd23f";
};

// The current object, made visible; the first click creates one.
function target() {
  const entry = state.objects.find((one) => one.id === state.object);
  if (!entry) set({ object: freeId() });
  else if (entry.hidden) hide(entry.id);
  return state.object;
}

// Whether a press removes: the right button, Alt, or the other end of a pen.
const removes = (event) => event.button === 2 || event.button === 5 || event.altKey;

// A tap is handled when the finger is lifted, because a second finger turns it into a gesture; a long one removes.
const LONG = 500;   // milliseconds
const onTap = (event, act) => {
  if (event.pointerType !== "touch") { act(removes(event)); return null; }
  return { up(_, lifted) { act(lifted.timeStamp - event.timeStamp > LONG); } };
};

const tools = {
  click(at, event) {
    if (!inside(at)) return null;
    return onTap(event, (removing) => {
      view.clicks.push([at.x, at.y, !removing]);
      redraw();
      send({ do: "click", frame: view.shown, object: target(), x: at.x, y: at.y, positive: !removing });
    });
  },

  box(from) {
    let to = from;
    view.preview = (context, unit) => {
      context.lineWidth = 2 * unit;
      context.strokeStyle = colourOf(state.object);
      context.setLineDash([6 * unit, 4 * unit]);
      context.strokeRect(from.x, from.y, to.x - from.x, to.y - from.y);
      context.setLineDash([]);
    };
    return {
      move(at) { to = at; redraw(); },
      up() {
        const clip = (value, most) => Math.round(Math.max(0, Math.min(most, value)));
        const x = clip(Math.min(from.x, to.x), state.video.width), y = clip(Math.min(from.y, to.y), state.video.height);
        const width = clip(Math.max(from.x, to.x), state.video.width) - x;
        const height = clip(Math.max(from.y, to.y), state.video.height) - y;
        view.preview = cursor;
        redraw();
        if (width > 3 && height > 3) send({ do: "box", frame: view.shown, object: target(), x, y, width, height });
      },
      cancel() { view.preview = cursor; redraw(); },
    };
  },

  brush: (at, event) => paint(at, !removes(event)),
  eraser: (at) => paint(at, false),

  polygon(at, event) {
    return onTap(event, (removing) => {
      const near = ({ x, y }) => Math.hypot(at.x - x, at.y - y) * view.scale < 10;
      if (removing) corners.pop();
      else if (corners.length > 2 && near(corners[0])) closePolygon();
      else if (!corners.some(near)) corners.push(at);
      redraw();
    });
  },

  hand(_, event) {
    let last = { x: event.clientX, y: event.clientY };
    return {
      moves: true,
      move(__, moved) {
        pan(moved.clientX - last.x, moved.clientY - last.y);
        last = { x: moved.clientX, y: moved.clientY };
      },
    };
  },
};

// The rectangle of the frame around the brush at some positions.
function around(...places) {
  const far = state.brush + 3 / view.scale;
  const xs = places.map(({ x }) => x), ys = places.map(({ y }) => y);
  return { x0: Math.min(...xs) - far, y0: Math.min(...ys) - far, x1: Math.max(...xs) + far, y1: Math.max(...ys) + far };
}

// A stroke appears at once, and goes to the server when it ends.
function paint(from, add) {
  const stroke = new Coverage(view.map, target(), add);
  const frame = view.shown;
  let last = from;
  view.stroke = stroke;
  stroke.line(from, from, state.brush);
  redraw();
  return {
    move(at) { stroke.line(last, at, state.brush); redraw(around(last, at)); last = at; },
    up() { view.stroke = null; sendCoverage(stroke, frame); },
    cancel() { view.stroke = null; document.dispatchEvent(new CustomEvent("reload-mask")); },
  };
}

function sendCoverage(coverage, frame) {
  if (!coverage.box) return;
  const { runs, ...box } = coverage.pack();
  const message = { do: "paint", frame, object: coverage.object, add: coverage.add, ...box };
  if (send(message, runs)) view.sent[view.sent.length - 1] = { coverage, frame };
}

export function closePolygon() {
  if (corners.length > 2) {
    const area = new Coverage(view.map, target(), true);
    area.polygon(corners);
    sendCoverage(area, view.shown);
  }
  corners = [];
  redraw();
}

view.drawing = () => (held !== null && !held.moves) || corners.length > 0;

// Cancel what is being drawn; true if there was something.
export function cancel() {
  const busy = held !== null || corners.length > 0;
  held?.cancel?.();
  held = null;
  corners = [];
  redraw();
  return busy;
}

export function tidy(how) {
  if (current() && view.shown >= 0) send({ do: "tidy", frame: view.shown, object: state.object, how });
}

// Select the object under the pointer.
export function pick() {
  const id = pointer && inside(pointer) && view.map.ids[Math.floor(pointer.y) * view.map.width + Math.floor(pointer.x)];
  if (id) set({ object: id });
}

// Drawn at the pointer: the brush's outline, the polygon so far.
function cursor(context, unit) {
  context.lineWidth = 1.5 * unit;
  if (pointer && BRUSHES.includes(state.tool)) {
    context.beginPath();
    context.arc(pointer.x, pointer.y, state.brush, 0, 2 * Math.PI);
    context.strokeStyle = "#000a";
    context.stroke();
    context.setLineDash([4 * unit, 4 * unit]);
    context.strokeStyle = "#fff";
    context.stroke();
    context.setLineDash([]);
  }
  if (corners.length) {
    context.strokeStyle = colourOf(state.object);
    context.lineWidth = 2 * unit;
    context.beginPath();
    for (const { x, y } of corners) context.lineTo(x, y);
    if (pointer) context.lineTo(pointer.x, pointer.y);
    context.stroke();
    context.fillStyle = "#fff";
    for (const { x, y } of corners) context.fillRect(x - 3 * unit, y - 3 * unit, 6 * unit, 6 * unit);
  }
}
view.preview = cursor;

export function holdSpace(down) {
  spaceHeld = down;
  canvas.dataset.tool = down ? "hand" : state.tool;
}

canvas.addEventListener("pointerdown", (event) => {
  if (!state.video || view.shown < 0) return;
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  if (event.pointerType === "touch") {
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (fingers.size > 1) { held?.cancel?.(); held = null; return; }   // two fingers zoom and move
  }
  penned ||= event.pointerType === "pen";
  const hand = event.button === 1 || spaceHeld || (penned && event.pointerType === "touch");
  if (event.button === 1) event.preventDefault();
  held = tools[hand ? "hand" : state.tool](place(event), event);
});

canvas.addEventListener("pointermove", (event) => {
  if (!state.video) return;
  const before = pointer;
  pointer = place(event);
  if (event.pointerType === "touch" && fingers.size > 1) { pinch(event); return; }
  if (held) {
    const moves = event.getCoalescedEvents?.() ?? [];
    for (const move of moves.length ? moves : [event]) held.move?.(place(move), move);
  } else if (BRUSHES.includes(state.tool)) redraw(before && around(before, pointer));
  else if (corners.length) redraw();
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

function release(event) {
  fingers.delete(event.pointerId);
  held?.up?.(place(event), event);
  held = null;
}
canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", (event) => { fingers.delete(event.pointerId); held?.cancel?.(); held = null; });
canvas.addEventListener("pointerleave", () => { pointer = null; redraw(); });
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("dblclick", () => { if (state.tool === "polygon") closePolygon(); });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = canvas.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), { x: event.clientX - box.left, y: event.clientY - box.top });
}, { passive: false });

on("brush", () => redraw());
on("tool", () => {
  cancel();
  canvas.dataset.tool = state.tool;
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", button.dataset.tool === state.tool);
  }
});
