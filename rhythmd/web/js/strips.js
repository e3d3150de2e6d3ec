// The strip of an alarm: small in the list, and on ECG paper when it is asked for.

import { PRINTED, fitted, grid, pulse } from "./paper.js";

const AGAIN_MS = 2500;
const NONE_AGAIN_MS = 60_000;
const THUMB_S = 7;

export class Strips {
  // Fetched once each, and again while more of one is to come.
  constructor() {
    this.known = new Map(); // alert id -> {strip or null, fetchedMs}
  }

  forget(id) {
    this.known.delete(id);
  }

  async get(id) {
    const known = this.known.get(id);
    const waitMs = known?.strip ? AGAIN_MS : NONE_AGAIN_MS;
    if (known && (known.strip?.complete || performance.now() - known.fetchedMs < waitMs)) return known.strip;
    this.known.set(id, { strip: known?.strip ?? null, fetchedMs: performance.now() });
    try {
      const answer = await fetch(`strip?id=${encodeURIComponent(id)}`);
      if (answer.ok) this.known.set(id, { strip: (await answer.json()) ?? known?.strip ?? null, fetchedMs: performance.now() });
    } catch {
      // the server is away, which the page says elsewhere
    }
    return this.known.get(id).strip;
  }
}

function curve(context, strip, x, y, from = 0, to = strip.counts.length) {
  let pen = false;
  context.beginPath();
  for (let index = from; index < to; index++) {
    const count = strip.counts[index];
    if (count === null) { pen = false; continue; }
    const method = pen ? "lineTo" : "moveTo";
    context[method](x(strip.at_s + index / strip.rate_hz), y(count / strip.counts_per_mv));
    pen = true;
  }
  context.stroke();
}

export function thumb(canvas, strip, alert, colours) {
  const context = fitted(canvas), width = canvas.clientWidth, height = canvas.clientHeight;
  if (!strip?.counts.length) return;
  const fromS = Math.max(strip.at_s, Math.min(alert.onset_s, alert.raised_s - THUMB_S + 2) - 1);
  const first = Math.round((fromS - strip.at_s) * strip.rate_hz);
  const last = Math.min(strip.counts.length, first + THUMB_S * strip.rate_hz);
  const seen = strip.counts.slice(first, last).filter((count) => count !== null);
  const low = Math.min(...seen), high = Math.max(...seen, low + strip.counts_per_mv);
  const y = (mv) => height - 4 - ((mv * strip.counts_per_mv - low) / (high - low)) * (height - 8);
  context.strokeStyle = colours.trace;
  context.lineWidth = 1;
  curve(context, strip, (atS) => ((atS - fromS) / THUMB_S) * width, y, first, last);
}

export function printed(canvas, strip, alert, { pxPerMm, speed, gain }) {
  // On paper, to scale: what is before the onset plain, what the decision was made on shaded.
  const leftMm = 10, heightMm = 50, baseMm = 30;
  const seconds = strip.counts.length / strip.rate_hz;
  const width = Math.ceil((leftMm + seconds * speed + 5) * pxPerMm), height = heightMm * pxPerMm;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = fitted(canvas, width, height);
  const x = (atS) => (leftMm + (atS - strip.at_s) * speed) * pxPerMm;
  const baseline = baseMm * pxPerMm;
  context.fillStyle = PRINTED.screen;
  context.fillRect(0, 0, width, height);
  grid(context, width, height, pxPerMm, PRINTED);
  context.fillStyle = "#d40f2614";
  const onset = Math.max(alert.onset_s, strip.at_s);
  context.fillRect(x(onset), 0, x(alert.raised_s) - x(onset), height);
  pulse(context, pxPerMm, baseline, pxPerMm, gain, PRINTED.trace);
  context.strokeStyle = PRINTED.trace;
  context.lineWidth = 1.3;
  context.lineJoin = "round";
  curve(context, strip, x, (mv) => baseline - mv * gain * pxPerMm);
  context.textAlign = "center";
  for (const beat of strip.beats) {
    context.fillStyle = PRINTED.beats[beat.beat];
    context.font = `${beat.beat === "N" ? "500" : "800"} 12px ${PRINTED.font}`;
    context.fillText(beat.beat, x(beat.at_s), 16);
  }
  context.fillStyle = "#a00c1e";
  context.font = `600 11px ${PRINTED.font}`;
  context.fillRect(x(alert.raised_s) - 0.5, 0, 1, height);
  context.textAlign = "right";
  context.fillText("alarm raised", x(alert.raised_s) - 5, height - 20);
  context.fillStyle = PRINTED.dim;
  context.textAlign = "center";
  for (let second = Math.ceil(strip.at_s - alert.onset_s); second <= seconds + strip.at_s - alert.onset_s; second++) {
    const at = x(alert.onset_s + second);
    context.fillRect(at - 0.5, height - 6, 1, 6);
    if (second % 5 === 0) context.fillText(second === 0 ? "onset" : `${second} s`, at, height - 9);
  }
  return { startX: Math.max(0, x(onset) - 6 * speed * pxPerMm * 0.5) };
}
