// RR intervals of the last minutes, one after the other and each against the next.

import { fitted } from "./paper.js";

const MINUTES = 5;

function scale(values) {
  // A round range that holds them all, and the step of its lines; ms.
  const low = Math.min(...values, 600), high = Math.max(...values, 1000);
  const step = high - low > 1600 ? 500 : 200;
  return { low: step * Math.floor(low / step), high: step * Math.ceil(high / step), step };
}

export function pairs(beats) {
  // Each interval with the one that follows it directly.
  return beats.slice(1).flatMap((beat, index) => {
    const before = beats[index];
    return before.rr_s && beat.rr_s ? [{ x: 1000 * before.rr_s, y: 1000 * beat.rr_s, beat: beat.beat, before: before.beat }] : [];
  });
}

const spread = (values) => {
  const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
  return Math.sqrt(values.reduce((sum, each) => sum + (each - mean) ** 2, 0) / values.length);
};

export function normal(beats) {
  // Intervals between normal beats: {mean, sd} in ms, and SD1, SD2 of the Poincaré plot; null when there are few.
  const both = beats.filter((beat, index) => beat.rr_s && beat.beat === "N" && beats[index - 1]?.beat === "N");
  const nn = both.map((beat) => 1000 * beat.rr_s);
  const points = pairs(beats).filter((point) => point.beat === "N" && point.before === "N");
  if (nn.length < 10 || points.length < 10) return null;
  return {
    mean: nn.reduce((sum, each) => sum + each, 0) / nn.length,
    sd: spread(nn),
    sd1: spread(points.map(({ x, y }) => (y - x) / Math.SQRT2)),
    sd2: spread(points.map(({ x, y }) => (y + x) / Math.SQRT2)),
  };
}

export function tachogram(canvas, beats, colours) {
  const context = fitted(canvas), width = canvas.clientWidth, height = canvas.clientHeight;
  const box = { left: 38, top: 6, right: width - 8, bottom: height - 18 };
  const { low, high, step } = scale(beats.filter((beat) => beat.rr_s).map((beat) => 1000 * beat.rr_s));
  const y = (ms) => box.bottom - ((ms - low) / (high - low)) * (box.bottom - box.top);
  const nowS = beats.at(-1)?.at_s ?? 0;
  const x = (atS) => box.right - ((nowS - atS) / (60 * MINUTES)) * (box.right - box.left);
  axes(context, colours);
  context.textAlign = "right";
  for (let ms = low; ms <= high; ms += step) line(context, box.left, y(ms), box.right, y(ms), `${ms}`, box.left - 6, y(ms) + 4);
  context.textAlign = "center";
  for (let minute = 1; minute < MINUTES; minute++) {
    const at = x(nowS - 60 * minute);
    line(context, at, box.top, at, box.bottom, `−${minute} min`, at, height - 4);
  }
  context.textAlign = "right";
  context.fillText("now", box.right, height - 4);
  for (const beat of beats) {
    if (beat.rr_s) dot(context, Math.max(box.left, x(beat.at_s)), y(1000 * beat.rr_s), beat.beat, colours, 1.7);
  }
}

export function poincare(canvas, beats, colours) {
  const context = fitted(canvas), width = canvas.clientWidth, height = canvas.clientHeight;
  const points = pairs(beats);
  const { low, high, step } = scale(points.flatMap((point) => [point.x, point.y]));
  const side = Math.min(width - 46, height - 24);
  const left = 38 + (width - 46 - side) / 2, bottom = height - 18;
  const x = (ms) => left + ((ms - low) / (high - low)) * side;
  const y = (ms) => bottom - ((ms - low) / (high - low)) * side;
  axes(context, colours);
  line(context, x(low), y(low), x(high), y(high));
  const sparse = side / ((high - low) / step) < 30 ? 2 * step : step;
  for (let ms = low; ms <= high; ms += sparse) {
    const last = ms + sparse > high;
    context.textAlign = last ? "right" : "center";
    line(context, x(ms), y(low), x(ms), y(high), `${ms}`, x(ms) + (last ? 8 : 0), height - 4);
    context.textAlign = "right";
    line(context, x(low), y(ms), x(high), y(ms), ms === low ? "" : `${ms}`, left - 5, y(ms) + 4);
  }
  context.textAlign = "left";
  context.fillText("next RR, ms", x(low) + 5, y(high) + 13);
  for (const point of points) dot(context, x(point.x), y(point.y), point.beat, colours, 2);
}

function axes(context, colours) {
  context.strokeStyle = colours.line;
  context.fillStyle = colours.dim;
  context.font = `11px ${colours.font}`;
  context.lineWidth = 1;
}

function line(context, x1, y1, x2, y2, text = "", textX = 0, textY = 0) {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
  if (text) context.fillText(text, textX, textY);
}

function dot(context, x, y, beat, colours, radius) {
  context.fillStyle = beat === "N" ? colours.trace : colours.beats[beat];
  context.beginPath();
  context.arc(x, y, beat === "N" ? radius : radius + 0.8, 0, 2 * Math.PI);
  context.fill();
}
