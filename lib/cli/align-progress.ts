import type { AlignEvent } from '../align/events.js';
import { doneText, type EventText, short } from './progress.js';

/** What an alignment's events say to a person. */
export const alignText: EventText<AlignEvent> = {
  step: (e) => ({
    losses: [
      `loss ${short(e.loss)}`,
      `kernel ${short(e.kernel_loss)}`,
      `anchor ${short(e.anchor_loss)}`,
      `cos ${e.cosine_to_original.toFixed(4)}`,
    ],
    rate: `${e.images_per_second.toFixed(1)} img/s`,
  }),
  line: (event) => {
    switch (event.type) {
      case 'start': {
        const { plan } = event;
        return (
          `${plan.images.toLocaleString('en-US')} images, ${plan.steps.toLocaleString('en-US')} steps of ` +
          `${plan.config.batchSize}${plan.ranks > 1 ? ` on ${plan.ranks} ranks` : ''}; ${(plan.studentParameters / 1e6).toFixed(1)} M ` +
          `parameters in training, on ${plan.device}`
        );
      }
      case 'fit':
        return (
          `kernel fitted on ${event.images} images: rho = c / gamma = ${short(event.c / event.gamma)}, sigma ` +
          `${short(event.sigma)}; kernel loss ${short(event.before)} -> ${short(event.after)}`
        );
      case 'cache': {
        const share =
          event.present === event.images ? 'complete' : `${event.present} of ${event.images} images, the rest is filled on the way`;
        return `frozen embeddings: ${event.rebuilt ? `made anew, because ${event.rebuilt}` : share}`;
      }
      case 'resume':
        return `resumed after step ${event.step}`;
      case 'validation':
        return `validation after step ${event.step}: loss ${short(event.val_loss)} on ${event.val_samples} images`;
      case 'evaluation': {
        const all = Object.entries(event.evaluation);
        const first = all.filter(([name]) => /(acc1|recall@1)$/.test(name));
        const said = (first.length > 0 ? first : all).map(([name, value]) => `${name} ${value === null ? '-' : value.toFixed(4)}`);
        return `after step ${event.step}: ${said.join('  ')}`;
      }
      case 'checkpoint':
        return event.warning ?? '';
      case 'export':
        return `exported ${event.layout}: ${event.path}`;
      case 'done':
        return doneText(event);
    }
  },
};
