// What this browser remembers: speed, gain, theme, the size of a millimetre, a name.

const DEFAULTS = { speed: 25, gain: 10, theme: "dark", pxPerMm: 96 / 25.4, by: "monitor page", keys: true };
export const SPEEDS = [12.5, 25, 50];
export const GAINS = [5, 10, 20];

function stored() {
  try {
    return JSON.parse(localStorage.getItem("rhythmd")) ?? {};
  } catch { // nothing that can be read, or a browser that keeps nothing
    return {};
  }
}

export const settings = { ...DEFAULTS, ...stored() };

export function set(change) {
  Object.assign(settings, change);
  try {
    localStorage.setItem("rhythmd", JSON.stringify(settings));
  } catch {
    // as above: it holds as long as the page is open
  }
}

export const beside = (values, value, step) =>
  values[Math.min(values.length - 1, Math.max(0, values.indexOf(value) + step))];
