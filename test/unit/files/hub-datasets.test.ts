import { readdirSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

import { fetchFiles } from '../../../lib/files/hub/fetch.js';
import { withEnvironment } from '../../environment.js';
import { FakeHub } from '../../fake-hub.js';
import { inFolder } from '../data/images/support.js';

describe('datasets on the hub', () => {
  it('have folders, and no file that leaves them', () =>
    inFolder(async (cache) => {
      const hub = await FakeHub.start();
      try {
        const commit = hub.commit('datasets/acme/data', { 'test/0.tar': 'a', 'test/more/1.tar': 'b', 'test/2.tar': 'c' });
        const { entry } = hub.repositories.get('datasets/acme/data')!.files.get('test/2.tar')!;
        Object.assign(entry, { path: 'test/../../../../../../../outside.tar' });
        const environment = { HF_ENDPOINT: hub.url, HF_HUB_CACHE: cache, HF_HUB_OFFLINE: undefined };
        const folder = await withEnvironment(environment, () => fetchFiles('acme/data', 'dataset', (paths) => paths));
        expect(folder).to.equal(join(cache, 'datasets--acme--data', 'snapshots', commit));
        expect(readdirSync(folder, { recursive: true }).sort()).to.deep.equal(['test', 'test/0.tar', 'test/more', 'test/more/1.tar']);
      } finally {
        await hub.close();
      }
    }));
});
