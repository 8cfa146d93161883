// What was looked at and what came of it: it holds, it differs, or it cannot be told here.

export type Verdict = boolean | null; // null: it cannot be told here
export type Finding = {
  what: string;
  ok: Verdict;
  told: string; // what was found; where it differs or cannot be told, why
};

/** Holds if all do; one that differs outweighs one that cannot be told. */
export const all = (verdicts: Verdict[]): Verdict => (verdicts.includes(false) ? false : verdicts.includes(null) ? null : true);

/** Several findings as one, which tells those that do not hold, and `told` if there is none. */
export function together(what: string, parts: Finding[], told: string): Finding {
  const rest = parts.filter((part) => part.ok !== true).map((part) => `${part.what}: ${part.told}`);
  return { what, ok: all(parts.map((part) => part.ok)), told: rest.join("; ") || told };
}
