import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLanceDb } from '../../orchestrator/adapters/lancedb.ts';
import { vectorStoreContract } from './vector-store.contract.ts';

vectorStoreContract(
  'LanceDB',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'nereid-lancedb-'));
    let store = await openLanceDb({ folder });
    return {
      store,
      reopen: async () => {
        await store.close();
        store = await openLanceDb({ folder });
        return store;
      },
      cleanup: async () => {
        await store.close();
        await rm(folder, { recursive: true });
      },
    };
  },
  { vectorTolerance: 0 },
);
