// What things are called on the page.

const KINDS = {
  frequent_pvc: "Frequent PVCs",
  engine_failing: "Engine failing",
  patch_lost: "Patch not connected",
  lead_off: "Lead off",
  noise: "Noise",
  connection_lost: "Connection lost",
  daemon_silent: "The monitoring daemon does not answer",
};

export const STARS = { high: "***", medium: "**", low: "*" };
export const RANK = { high: 0, medium: 1, low: 2 };

const RHYTHMS = {
  N: "No arrhythmia",
  AFIB: "Atrial fibrillation",
  AFL: "Atrial flutter",
  SVTA: "Supraventricular tachycardia",
  VT: "Ventricular tachycardia",
  VF: "Ventricular fibrillation",
  ASYS: "Asystole",
  NOISE: "Unreadable",
};

const QUALITIES = {
  good: "Good", noisy: "Noisy", blocked: "Amplifier blocked", saturated: "Saturated", flat: "Flat line",
  lead_off: "Lead off", lost: "No signal",
};

const EVIDENCE = {
  probability: (value) => `probability ${Math.round(100 * value)} %`,
  rate_bpm: (value) => `${Math.round(value)}/min`,
  beats: (value) => `${value} beats`,
  no_beat_s: (value) => `no beat for ${value} s`,
  per_minute: (value) => `${value} a minute`,
  rr_s: (value) => `RR ${value} s`,
  fitness: (value) => quality(value).toLowerCase(),
};

const spoken = (word) => {
  const text = word.replaceAll("_", " ");
  return text[0].toUpperCase() + text.slice(1);
};

export const kind = (name) => KINDS[name] ?? spoken(name);
export const rhythm = (name) => RHYTHMS[name] ?? name;
export const quality = (name) => QUALITIES[name] ?? spoken(name);

export const evidence = (fields) =>
  Object.entries(fields).map(([key, value]) => EVIDENCE[key]?.(value) ?? `${spoken(key).toLowerCase()} ${value}`).join(", ");

export const time = (utc) =>
  new Date(utc).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function when(utc) {
  const today = new Date(utc).toDateString() === new Date().toDateString();
  return today ? time(utc) : `${new Date(utc).toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time(utc)}`;
}

export function span(seconds) {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  return whole < 3600
    ? `${Math.floor(whole / 60)} min ${whole % 60} s`
    : `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
