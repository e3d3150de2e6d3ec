// ECG paper: a line each millimetre, a stronger one every five, and the pulse of 1 mV.

export function fitted(canvas, width = canvas.clientWidth, height = canvas.clientHeight) {
  // A canvas with as many pixels as the screen has there; its context counts in CSS pixels.
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

export function colours() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    trace: get("trace"), minor: get("minor"), major: get("major"), text: get("text"), dim: get("dim"), line: get("line"),
    screen: get("screen"), font: get("font"),
    beats: { N: get("beat-n"), S: get("beat-s"), V: get("beat-v"), Q: get("beat-q") },
  };
}

export const PRINTED = {
  trace: "#0b1a12", minor: "#f9dfdb", major: "#efb6ae", text: "#10181c", dim: "#55646b", screen: "#fffaf8",
  font: "Liberation Sans, Arial, sans-serif",
  beats: { N: "#5d7078", S: "#7a34d6", V: "#c84a00", Q: "#55646b" },
};

export function grid(context, width, height, pxPerMm, { minor, major }) {
  const lines = (every, colour) => {
    context.strokeStyle = colour;
    context.lineWidth = 1;
    context.beginPath();
    for (let mm = 0; mm * pxPerMm <= Math.max(width, height); mm += every) {
      const at = Math.round(mm * pxPerMm) + 0.5;
      if (at <= width) { context.moveTo(at, 0); context.lineTo(at, height); }
      if (at <= height) { context.moveTo(0, at); context.lineTo(width, at); }
    }
    context.stroke();
  };
  if (pxPerMm >= 2.5) lines(1, minor);
  lines(5, major);
}

export function pulse(context, x, baseline, pxPerMm, gain, colour) {
  // 1 mV for 5 mm, as it stands at the beginning of a strip.
  const top = baseline - gain * pxPerMm;
  context.strokeStyle = colour;
  context.lineWidth = 1.4;
  context.lineJoin = "round";
  context.beginPath();
  context.moveTo(x, baseline);
  for (const [mm, y] of [[1, baseline], [1, top], [6, top], [6, baseline], [7, baseline]]) {
    context.lineTo(x + mm * pxPerMm, y);
  }
  context.stroke();
}
