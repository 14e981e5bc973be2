import type { LoraEvent } from '../lora/events.js';
import { doneText, type EventText, short } from './progress.js';

/** What a fine-tuning's events say to a person. */
export const loraText: EventText<LoraEvent> = {
  step: (e) => ({
    losses: [`loss ${short(e.loss)}`, `grad ${short(e.grad_norm)}`],
    rate: `${short(e.samples_per_second)} samples/s  ${e.tokens_per_second.toFixed(0)} tok/s`,
  }),
  line: (event) => {
    switch (event.type) {
      case 'start': {
        const { plan } = event;
        const leftOut = plan.leftOut > 0 ? `; ${plan.leftOut} records left out, listed in ${plan.config.out}/preflight.jsonl` : '';
        return (
          `${plan.samples.toLocaleString('en-US')} samples, ${plan.steps.toLocaleString('en-US')} updates of ` +
          `${plan.effectiveBatch}; ${(plan.trainableParameters / 1e6).toFixed(1)} M parameters in training, on ` +
          `${plan.device}${leftOut}`
        );
      }
      case 'resume':
        return `resumed after step ${event.step}`;
      case 'validation':
        return `validation after step ${event.step}: loss ${short(event.val_loss)} on ${event.val_samples} samples`;
      case 'evaluation':
        return '';
      case 'checkpoint':
        return event.warning ?? '';
      case 'export':
        return `exported the adapter: ${event.path}`;
      case 'done':
        return doneText(event);
    }
  },
};
