import type { Comparison, Difference } from './compare.js';

/** A line for each model's metric; of the first model no difference. Fields are quoted where they need it (RFC 4180). */
export function csvOf({ models, evaluations }: Comparison): string {
  const head = ['dataset', 'task', 'metric', 'model', 'value', 'difference', 'low', 'high', 'mcnemar_p'];
  const rows = evaluations.flatMap(({ dataset, task, results, differences }) =>
    results.flatMap(({ metrics }, m) =>
      Object.entries(metrics).map(([metric, value]) => {
        const found = differences.find((one) => one.model === m && one.metric === metric);
        return [dataset, task, metric, models[m], value, found?.estimate, found?.low, found?.high, found?.mcnemar?.p];
      }),
    ),
  );
  const field = (value: unknown) => {
    const text = String(value ?? '');
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [head, ...rows].map((row) => `${row.map(field).join(',')}\n`).join('');
}

/** What an interval says, in a word: nothing where it holds 0. */
export const verdict = ({ low, high }: Difference): '' | 'better' | 'worse' => (low > 0 ? 'better' : high < 0 ? 'worse' : '');
