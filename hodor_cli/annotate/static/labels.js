// Label maps: runs from the server, turned into pixels to draw. There is only one map: of the frame in view.

import { EVERYTHING, area, around, join, widen, within } from "./rectangles.js";
import { state } from "./state.js";

export class LabelMap {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.ids = new Uint16Array(width * height);
    this.before = this.ids.slice();   // the ids before the newest `load`
    this.image = new ImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.fill = new Uint32Array(65536);
    this.edge = new Uint32Array(65536);
    this.thick = Math.max(1, Math.round(Math.min(width, height) / 400));   // the width of an object's edge
    this.changed = null;   // the rectangle whose pixels are out of date
    this.whole = new OffscreenCanvas(width, height).getContext("2d");
    this.behind = null;    // the rectangle where `whole` is out of date
    this.part = new OffscreenCanvas(1, 1).getContext("2d");
  }

  // Note that the ids or colours of a rectangle have changed.
  touch(rectangle) {
    this.changed = join(this.changed, rectangle);
  }

  // Unpack runs (pairs of id and length; null: an empty map), put strokes on top, and return the rectangle that has
  // changed; null if nothing has.
  load(buffer, strokes = []) {
    [this.ids, this.before] = [this.before, this.ids];
    const runs = buffer ? new Uint32Array(buffer) : [0, this.ids.length];
    for (let i = 0, at = 0; i < runs.length; i += 2) this.ids.fill(runs[i], at, at += runs[i + 1]);
    for (const stroke of strokes) stroke.apply();
    const differs = this.difference();
    if (differs) this.touch(differs);
    return differs;
  }

  // The rectangle in which the map differs from the previous one; null if they are equal.
  difference() {
    const { ids, before, width, height } = this;
    let box = null;
    for (let y = 0; y < height; y += 1) {
      let first = y * width, last = first + width;
      while (first < last && ids[first] === before[first]) first += 1;
      if (first === last) continue;
      while (ids[last - 1] === before[last - 1]) last -= 1;
      box = join(box, { x0: first - y * width, y0: y, x1: last - y * width, y1: y + 1 });
    }
    return box;
  }

  // Compute the colours as 32-bit numbers (ABGR); hidden objects are transparent, and the current one of several has a
  // white edge.
  recolour() {
    this.fill.fill(0);
    this.edge.fill(0);
    const alpha = state.outline ? 0 : Math.round(state.opacity * 255);
    for (const { id, hidden, colour } of [...state.objects, state.fresh]) {   // `fresh`, so that the first stroke of a new object is visible
      if (hidden) continue;
      this.fill[id] = pack(colour, alpha);
      const current = id === state.object && state.objects.length > 1 && !state.outline;
      this.edge[id] = pack(current ? [255, 255, 255] : colour, current || state.outline ? 255 : Math.min(255, alpha * 2));
    }
    this.touch(EVERYTHING);
  }

  // Draw a rectangle of the map. A small part is drawn through a canvas of its size: browsers copy a whole canvas if it
  // changes after being drawn, and a stroke makes many small changes.
  draw(context, rectangle) {
    this.paint();
    const seen = within(rectangle, this);
    if (!seen) return;
    if (this.behind && 4 * area(seen) < this.ids.length) {
      const { x0, y0, x1, y1 } = seen, wide = x1 - x0, tall = y1 - y0, { canvas } = this.part;
      canvas.width = wide;
      canvas.height = tall;
      this.part.putImageData(this.image, -x0, -y0, x0, y0, wide, tall);
      context.drawImage(canvas, 0, 0, wide, tall, x0, y0, wide, tall);
      return;
    }
    if (this.behind) {
      const { x0, y0, x1, y1 } = this.behind;
      this.whole.putImageData(this.image, 0, 0, x0, y0, x1 - x0, y1 - y0);
      this.behind = null;
    }
    context.drawImage(this.whole.canvas, 0, 0);
  }

  // Compute the pixels of the changed rectangle, with edges where an object borders on another label.
  paint() {
    if (!this.changed) return;
    const { width, height, thick, ids, pixels, fill, edge } = this, down = thick * width;
    const { x0, y0, x1, y1 } = within(widen(this.changed, thick), this);
    for (let y = y0; y < y1; y += 1) {
      const top = y >= thick, bottom = y < height - thick;
      for (let at = y * width + x0, x = x0; x < x1; x += 1, at += 1) {
        const id = ids[at];
        if (id === 0) { pixels[at] = 0; continue; }
        const inside = (x < thick || ids[at - thick] === id) && (x >= width - thick || ids[at + thick] === id)
          && (!top || ids[at - down] === id) && (!bottom || ids[at + down] === id);
        pixels[at] = inside ? fill[id] : edge[id];
      }
    }
    this.behind = join(this.behind, { x0, y0, x1, y1 });
    this.changed = null;
  }
}

const pack = ([red, green, blue], alpha) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;

// Draws the area that a stroke covers; shared, because a new canvas for each move would keep the garbage collector busy.
const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

// A stroke or polygon being drawn: the pixels that it covers, and the rectangle around them.
export class Coverage {
  constructor(map, object, add) {
    this.map = map;
    this.object = object;
    this.add = add;
    this.covered = new Uint8Array(map.width * map.height);
    this.box = null;
  }

  // Cover everything within `radius` of the line from a to b.
  line(a, b, radius) {
    this.cover(around([a, b], radius), () => {
      pen.lineWidth = 2 * radius;
      pen.lineCap = "round";
      pen.moveTo(a.x, a.y);
      pen.lineTo(b.x + 0.001, b.y);   // a line of length 0 would not be drawn
      pen.stroke();
    });
  }

  // Cover the inside of a polygon.
  polygon(corners) {
    this.cover(around(corners, 0), () => {
      for (const { x, y } of corners) pen.lineTo(x, y);
      pen.fill();
    });
  }

  // Cover the pixels of a rectangle that `draw` fills by more than half.
  cover(rectangle, draw) {
    const box = within(rectangle, this.map);
    if (!box) return;
    const { x0, y0 } = box, wide = box.x1 - x0, tall = box.y1 - y0;
    pen.canvas.width = wide;   // which clears it
    pen.canvas.height = tall;
    pen.translate(-x0, -y0);
    pen.beginPath();
    draw();
    const { data } = pen.getImageData(0, 0, wide, tall);
    for (let y = y0, from = 3; y < box.y1; y += 1) {
      for (let at = y * this.map.width + x0, end = at + wide; at < end; at += 1, from += 4) {
        if (data[from] <= 127) continue;
        this.covered[at] = 1;
        this.put(at);
      }
    }
    this.box = join(this.box, box);
    this.map.touch(box);
  }

  // Put a covered pixel into the map.
  put(at) {
    const { ids } = this.map;
    if (this.add) ids[at] = this.object;
    else if (ids[at] === this.object) ids[at] = 0;
  }

  // Put all covered pixels into the map after it was loaded again.
  apply() {
    if (!this.box) return;
    const { x0, y0, x1, y1 } = this.box, { width } = this.map;
    for (let y = y0; y < y1; y += 1) {
      for (let at = y * width + x0; at < y * width + x1; at += 1) if (this.covered[at]) this.put(at);
    }
  }

  // The rectangle and its runs of 0 and 1, as the server expects them.
  pack() {
    const { x0, y0, x1, y1 } = this.box, { width } = this.map, wide = x1 - x0;
    const part = new Uint8Array(wide * (y1 - y0)), runs = [];
    for (let y = y0; y < y1; y += 1) part.set(this.covered.subarray(y * width + x0, y * width + x1), (y - y0) * wide);
    for (let at = 0, value = part[0]; at < part.length; value = 1 - value) {
      const next = part.indexOf(1 - value, at), end = next < 0 ? part.length : next;
      runs.push(value, end - at);
      at = end;
    }
    return { x: x0, y: y0, width: wide, height: y1 - y0, runs: new Uint32Array(runs) };
  }
}
