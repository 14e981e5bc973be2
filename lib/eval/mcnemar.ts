import type { Hits } from './metrics.js';

/** log(n!) - log(sqrt(2 pi n) (n / e)^n), Stirling's error: a table where the series is not exact yet. */
const stirlingErrors = [
  0, 0.08106146679532726, 0.0413406959554093, 0.02767792568499834, 0.02079067210376509, 0.01664469118982119, 0.01387612882307075,
  0.01189670994589177, 0.010411265261972096, 0.009255462182712733, 0.00833056343336287, 0.007573675487951841, 0.00694284010720953,
  0.006408994188004207, 0.0059513701127588475, 0.005554733551962801,
];

function stirlingError(n: number): number {
  const square = n * n;
  return stirlingErrors[n] ?? (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / 1188 / square) / square) / square) / square) / n;
}

/** x log(x / m) + m - x without the loss of digits where x is near m. */
function deviance(x: number, m: number): number {
  const v = (x - m) / (x + m);
  if (Math.abs(v) >= 0.1) return x * Math.log(x / m) + m - x;
  let sum = (x - m) * v;
  let term = 2 * x * v;
  for (let j = 3; ; j += 2) {
    term *= v * v;
    const next = sum + term / j;
    if (next === sum) return sum;
    sum = next;
  }
}

/** Probability of k heads among n of a fair coin, by the saddle point (Loader 2000): as exact for millions as for ten. */
function fairCoin(k: number, n: number): number {
  if (k === 0 || k === n) return 2 ** -n;
  const error = stirlingError(n) - stirlingError(k) - stirlingError(n - k) - deviance(k, n / 2) - deviance(n - k, n / 2);
  return Math.exp(error) * Math.sqrt(n / (2 * Math.PI * k * (n - k)));
}

/**
 * McNemar's exact test: the two-sided binomial probability, were both equally good, that among the images which only one of them has right
 * the split is as uneven as `onlyA` to `onlyB`, or more.
 */
export function mcnemar(onlyA: number, onlyB: number): number {
  const n = onlyA + onlyB;
  const least = Math.min(onlyA, onlyB);
  if (2 * least >= n - 1) return 1;
  // Each term is the one above it times k / (n - k + 1), less than 1 here.
  let sum = 0;
  let term = 1;
  for (let k = least; k >= 0 && term > sum * 1e-17; k--) {
    sum += term;
    term *= k / (n - k + 1);
  }
  return Math.min(1, 2 * fairCoin(least, n) * sum);
}

export interface McNemar {
  /** Images that the first alone has right, and the second alone. */
  onlyA: number;
  onlyB: number;
  /** Two-sided p. */
  p: number;
}

/** The test on the same images' hits. */
export function compareHits(a: Hits, b: Hits): McNemar {
  let onlyA = 0;
  let onlyB = 0;
  for (let i = 0; i < a.length; i++) {
    if (a[i]! > b[i]!) onlyA++;
    if (b[i]! > a[i]!) onlyB++;
  }
  return { onlyA, onlyB, p: mcnemar(onlyA, onlyB) };
}
