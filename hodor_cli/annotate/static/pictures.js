// Frames and masks from the server, fetched once and kept while there is room.

import { state } from "./state.js";

const ROOM = 200 << 20;          // bytes of decoded frames
const pictures = new Map();      // index -> Promise of ImageBitmap, oldest first
const masks = new Map();         // index -> ArrayBuffer of runs, oldest first
const MASKS = 600;

export function picture(index) {
  let found = pictures.get(index);
  if (found) {
    pictures.delete(index);
  } else {
    found = load(index);
    found.catch(() => pictures.delete(index));
    const { width, height } = state.video;
    const most = Math.max(6, Math.floor(ROOM / (4 * width * height)));
    while (pictures.size >= most) {
      const [oldest, bitmap] = pictures.entries().next().value;
      pictures.delete(oldest);
      // Closed later: it may be the one that is drawn right now.
      bitmap.then((image) => setTimeout(() => image.close(), 5000), () => {});
    }
  }
  pictures.set(index, found);
  return found;
}

async function load(index) {
  const answer = await fetch(`frame/${index}`);
  if (!answer.ok) throw new Error(await answer.text());
  return createImageBitmap(await answer.blob());
}

// The runs of a frame's label map; null where it has none.
export async function mask(index) {
  if (!state.frames.has(index)) return null;
  if (masks.has(index)) return masks.get(index);
  const answer = await fetch(`labels/${index}`);
  if (!answer.ok) throw new Error(await answer.text());
  const runs = await answer.arrayBuffer();
  keepMask(index, runs);
  return runs;
}

export function keepMask(index, runs) {
  masks.delete(index);
  if (!runs) return;
  masks.set(index, runs);
  if (masks.size > MASKS) masks.delete(masks.keys().next().value);
}

export function forgetMasks() {
  masks.clear();
}
