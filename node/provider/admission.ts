/**
 * How much work a provider takes on: so many answers at once, so many waiting, and a refusal with a
 * code for the rest at once, because a client that hears no early can go elsewhere.
 */
import { Refusal } from './refusal.ts';

export type Admission = {
  /**
   * Resolves with the function that gives the place back.
   * @throws Refusal QUEUE_FULL at once, CANCELLED when the client leaves while it waits.
   */
  readonly enter: (signal: AbortSignal) => Promise<() => void>;
  readonly load: () => { readonly running: number; readonly waiting: number };
};

export function openAdmission(limits: {
  readonly runningMax: number;
  readonly waitingMax: number;
}): Admission {
  let running = 0;
  const waiting: { admit: () => void }[] = [];

  const leave = (): (() => void) => {
    let left = false;
    return () => {
      if (left) return;
      left = true;
      running -= 1;
      waiting.shift()?.admit();
    };
  };

  return {
    enter: (signal) => {
      if (signal.aborted) return Promise.reject(cancelled());
      if (running < limits.runningMax) {
        running += 1;
        return Promise.resolve(leave());
      }
      if (waiting.length >= limits.waitingMax)
        return Promise.reject(
          new Refusal(
            'QUEUE_FULL',
            `${running} answers run and ${waiting.length} wait; ask another provider or later`,
          ),
        );
      return new Promise((resolve, reject) => {
        const onAbort = (): void => {
          waiting.splice(waiting.indexOf(place), 1);
          reject(cancelled());
        };
        const place = {
          admit: () => {
            signal.removeEventListener('abort', onAbort);
            running += 1;
            resolve(leave());
          },
        };
        signal.addEventListener('abort', onAbort, { once: true });
        waiting.push(place);
      });
    },
    load: () => ({ running, waiting: waiting.length }),
  };
}

const cancelled = (): Refusal => new Refusal('CANCELLED', 'the client left before its turn came');
