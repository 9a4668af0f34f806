/** Order among actions on the same thing, without locks on anything else. */

/** Runs actions of one key one after the other, those of different keys side by side. */
export function oneAtATime(): <Result>(
  key: string,
  action: () => Promise<Result>,
) => Promise<Result> {
  const last = new Map<string, Promise<unknown>>();
  return (key, action) => {
    const before = last.get(key) ?? Promise.resolve();
    const mine = before.then(action, action);
    last.set(key, mine);
    const forget = (): void => {
      if (last.get(key) === mine) last.delete(key);
    };
    mine.then(forget, forget);
    return mine;
  };
}
