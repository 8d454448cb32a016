// Label maps: runs from the server, and pixels to draw. There is one map, that of the frame in view.

import { state } from "./state.js";

export class LabelMap {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.ids = new Uint16Array(width * height);
    this.canvas = new OffscreenCanvas(width, height);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.image = this.context.createImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.fill = new Uint32Array(65536);
    this.edge = new Uint32Array(65536);
  }

  // Unpack runs (pairs of id and length), and draw the rows that they change; null empties the map.
  load(buffer) {
    const { ids, width } = this, runs = buffer ? new Uint32Array(buffer) : [0, ids.length];
    let first = ids.length, last = -1;
    for (let i = 0, at = 0; i < runs.length; i += 2) {
      const id = runs[i];
      for (const end = at + runs[i + 1]; at < end; at += 1) {
        if (ids[at] === id) continue;
        ids[at] = id;
        first = Math.min(first, at);
        last = at;
      }
    }
    if (last >= 0) this.paint(0, Math.floor(first / width), width, Math.floor(last / width) + 1);
  }

  // Colours as 32-bit numbers (ABGR); hidden objects are clear.
  recolour() {
    this.fill.fill(0);
    this.edge.fill(0);
    const alpha = state.outline ? 0 : Math.round(state.opacity * 255);
    for (const { id, hidden, colour } of [...state.objects, state.fresh]) {   // the first stroke of a new object is seen, too
      if (hidden) continue;
      this.fill[id] = pack(colour, alpha);
      this.edge[id] = pack(colour, state.outline ? 255 : Math.min(255, alpha * 2));
    }
  }

  // Draw a rectangle of the map into its canvas, with edges where an object borders on another label.
  paint(x0 = 0, y0 = 0, x1 = this.width, y1 = this.height) {
    const { width, height, ids, pixels, fill, edge } = this;
    const thick = Math.max(1, Math.round(Math.min(width, height) / 400));
    x0 = Math.max(0, x0 - thick); y0 = Math.max(0, y0 - thick);
    x1 = Math.min(width, x1 + thick); y1 = Math.min(height, y1 + thick);
    if (x1 <= x0 || y1 <= y0) return;
    const down = thick * width;
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
    this.context.putImageData(this.image, 0, 0, x0, y0, x1 - x0, y1 - y0);
  }
}

const pack = ([red, green, blue], alpha) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;

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
    const { width, height } = this.map;
    const x0 = Math.max(0, Math.floor(Math.min(a.x, b.x) - radius)), x1 = Math.min(width, Math.ceil(Math.max(a.x, b.x) + radius) + 1);
    const y0 = Math.max(0, Math.floor(Math.min(a.y, b.y) - radius)), y1 = Math.min(height, Math.ceil(Math.max(a.y, b.y) + radius) + 1);
    const dx = b.x - a.x, dy = b.y - a.y, long = dx * dx + dy * dy || 1, limit = radius * radius;
    for (let y = y0; y < y1; y += 1) {
      for (let x = x0; x < x1; x += 1) {
        const px = x + 0.5 - a.x, py = y + 0.5 - a.y;
        const t = Math.max(0, Math.min(1, (px * dx + py * dy) / long));
        const ex = px - t * dx, ey = py - t * dy;
        if (ex * ex + ey * ey <= limit) this.covered[y * width + x] = 1;
      }
    }
    this.grow(x0, y0, x1, y1);
  }

  // Cover the inside of a polygon, which the browser fills.
  polygon(points) {
    const { width, height } = this.map;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.beginPath();
    for (const { x, y } of points) context.lineTo(x, y);
    context.fill();
    const data = context.getImageData(0, 0, width, height).data;
    for (let at = 0; at < this.covered.length; at += 1) this.covered[at] = data[4 * at + 3] > 127 ? 1 : 0;
    const xs = points.map((point) => point.x), ys = points.map((point) => point.y);
    this.grow(Math.max(0, Math.floor(Math.min(...xs))), Math.max(0, Math.floor(Math.min(...ys))),
      Math.min(width, Math.ceil(Math.max(...xs)) + 1), Math.min(height, Math.ceil(Math.max(...ys)) + 1));
  }

  grow(x0, y0, x1, y1) {
    if (x1 <= x0 || y1 <= y0) return;
    const box = this.box ?? { x0, y0, x1, y1 };
    this.box = { x0: Math.min(box.x0, x0), y0: Math.min(box.y0, y0), x1: Math.max(box.x1, x1), y1: Math.max(box.y1, y1) };
    this.apply(x0, y0, x1, y1);
  }

  // Put the covered pixels of a rectangle (all of them by default) into the map and draw them.
  apply(x0 = this.box?.x0, y0 = this.box?.y0, x1 = this.box?.x1, y1 = this.box?.y1) {
    if (x0 === undefined) return;
    const { width, ids } = this.map;
    for (let y = y0; y < y1; y += 1) {
      for (let at = y * width + x0; at < y * width + x1; at += 1) {
        if (!this.covered[at]) continue;
        if (this.add) ids[at] = this.object;
        else if (ids[at] === this.object) ids[at] = 0;
      }
    }
    this.map.paint(x0, y0, x1, y1);
  }

  // The rectangle and its runs of 0 and 1, as the server expects them.
  pack() {
    const { x0, y0, x1, y1 } = this.box;
    const runs = [];
    let value = this.covered[y0 * this.map.width + x0], length = 0;
    for (let y = y0; y < y1; y += 1) {
      for (let at = y * this.map.width + x0; at < y * this.map.width + x1; at += 1) {
        if (this.covered[at] === value) { length += 1; continue; }
        runs.push(value, length);
        value = this.covered[at];
        length = 1;
      }
    }
    runs.push(value, length);
    return { x: x0, y: y0, width: x1 - x0, height: y1 - y0, runs: new Uint32Array(runs) };
  }
}
