// A model on a backend as the source of a training run.
import type { TrainingSource } from '../train/run.ts';
import type { BackendModel } from './port.ts';

/**
 * Losses and gradients from a backend's model; the updates stay the canonical kernels'. What it trains
 * has the backend's rounding, so that no other machine repeats its bits.
 *
 * @throws RangeError where the model offers no gradients
 */
export function backendSource(model: BackendModel): TrainingSource {
  const { config, recordGradients } = model;
  if (recordGradients === undefined) {
    throw new RangeError('expected a model with gradients, found one that only scores');
  }
  let last: Promise<unknown> = Promise.resolve();
  // Calls of a backend do not overlap.
  const inTurn = <T>(call: () => Promise<T>): Promise<T> => {
    const mine = last.then(call);
    last = mine.catch(() => undefined);
    return mine;
  };
  return {
    config,
    recordGradients: (adapter, records) => inTurn(() => recordGradients(adapter, records)),
    score: (adapter, tokens) => inTurn(() => model.score(adapter, tokens)),
    forget: () => undefined,
  };
}
