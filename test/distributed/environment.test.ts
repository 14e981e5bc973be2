import { expect } from 'chai';

import { firstHost, placementOf, tasksPerNode } from '../../lib/distributed/environment.js';
import type { KueaError } from '../../lib/errors.js';

const torchrun = { RANK: '5', LOCAL_RANK: '1', WORLD_SIZE: '8', LOCAL_WORLD_SIZE: '4', MASTER_ADDR: 'gpu0', MASTER_PORT: '29501' };
// As srun of Slurm 22.05 sets them: 2 + 2 + 1 tasks on three nodes.
const slurm = {
  SLURM_JOB_ID: '4242',
  SLURM_JOB_NODELIST: 'gpu[03-05]',
  SLURM_NTASKS: '5',
  SLURM_PROCID: '3',
  SLURM_LOCALID: '1',
  SLURM_NODEID: '1',
  SLURM_STEP_ID: '0',
  SLURM_STEP_NUM_TASKS: '5',
  SLURM_STEP_NODELIST: 'gpu[03-05]',
  SLURM_STEP_TASKS_PER_NODE: '2(x2),1',
};
const openMpi = { OMPI_COMM_WORLD_RANK: '2', OMPI_COMM_WORLD_SIZE: '4', OMPI_COMM_WORLD_LOCAL_RANK: '2', OMPI_COMM_WORLD_LOCAL_SIZE: '4' };

function refusal(env: Record<string, string>): string {
  try {
    placementOf(env);
  } catch (error) {
    expect((error as KueaError).code).to.equal('bad_environment');
    return (error as Error).message;
  }
  throw new Error('it was accepted');
}

describe("a rank's place in the environment", () => {
  it('is none for a process that stands alone', () => {
    expect(placementOf({ PATH: '/bin', RANK: '' })).to.equal(null);
  });

  it("is read from torchrun's variables", () => {
    expect(placementOf(torchrun)).to.deep.equal({
      rank: 5,
      worldSize: 8,
      localRank: 1,
      localWorldSize: 4,
      masterAddr: 'gpu0',
      masterPort: 29501,
    });
  });

  it('is refused when some of them are missing, naming them', () => {
    const { LOCAL_RANK: _, MASTER_PORT: __, ...some } = torchrun;
    expect(refusal(some)).to.match(/found RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR without LOCAL_RANK, MASTER_PORT:/);
    expect(refusal({ MASTER_ADDR: 'gpu0' })).to.match(/without RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_PORT:/);
    // Half of torchrun's is no Slurm step either.
    expect(refusal({ ...slurm, RANK: '1' })).to.match(/found RANK without/);
  });

  it('is refused when they contradict each other', () => {
    expect(refusal({ ...torchrun, RANK: 'one' })).to.equal('expected a whole number in RANK, found "one"');
    expect(refusal({ ...torchrun, RANK: '8' })).to.match(/a rank below the 8 that there are, found rank 8/);
    expect(refusal({ ...torchrun, LOCAL_RANK: '4' })).to.match(/local rank below the 4/);
    expect(refusal({ ...torchrun, LOCAL_WORLD_SIZE: '9' })).to.match(/at most the 8 ranks/);
    expect(refusal({ ...torchrun, MASTER_PORT: '70000' })).to.match(/a port from 1 to 65535, found 70000/);
  });

  it('is read from a Slurm step of several tasks', () => {
    expect(placementOf(slurm)).to.deep.equal({
      rank: 3,
      worldSize: 5,
      localRank: 1,
      localWorldSize: 2,
      masterAddr: 'gpu03',
      masterPort: 19242,
    });
    expect(placementOf({ ...slurm, MASTER_ADDR: '10.0.0.1', MASTER_PORT: '29500' })).to.include({
      rank: 3,
      masterAddr: '10.0.0.1',
      masterPort: 29500,
    });
    expect(placementOf({ ...slurm, ...torchrun })).to.include({ rank: 5, worldSize: 8 });
  });

  it('is none in a batch script, an allocation or a step of one task', () => {
    const { SLURM_STEP_NUM_TASKS: _, SLURM_STEP_NODELIST: __, ...batch } = slurm;
    expect(placementOf({ ...batch, SLURM_PROCID: '0' })).to.equal(null);
    expect(placementOf({ ...slurm, SLURM_STEP_NUM_TASKS: '1', SLURM_PROCID: '0' })).to.equal(null);
  });

  it('is read from Open MPI and from MPICH', () => {
    expect(placementOf(openMpi)).to.deep.equal({
      rank: 2,
      worldSize: 4,
      localRank: 2,
      localWorldSize: 4,
      masterAddr: '127.0.0.1',
      masterPort: 29500,
    });
    expect(
      placementOf({ PMI_RANK: '1', PMI_SIZE: '2', MPI_LOCALRANKID: '0', MPI_LOCALNRANKS: '1', MASTER_ADDR: 'a', MASTER_PORT: '1234' }),
    ).to.deep.equal({
      rank: 1,
      worldSize: 2,
      localRank: 0,
      localWorldSize: 1,
      masterAddr: 'a',
      masterPort: 1234,
    });
    expect(refusal({ ...openMpi, OMPI_COMM_WORLD_LOCAL_SIZE: '3' })).to.match(/expected MASTER_ADDR, the machine of rank 0/);
    expect(placementOf({ ...openMpi, OMPI_COMM_WORLD_SIZE: '1', OMPI_COMM_WORLD_RANK: '0' })).to.equal(null);
  });

  it("understands Slurm's short forms", () => {
    expect(['n1', 'n1,n2', 'n[3,5-9]', 'rack[07-12]-ib,login', 'a-b[1-2]'].map(firstHost)).to.deep.equal([
      'n1',
      'n1',
      'n3',
      'rack07-ib',
      'a-b1',
    ]);
    expect(tasksPerNode('2(x3),1')).to.deep.equal([2, 2, 2, 1]);
    expect(tasksPerNode('4')).to.deep.equal([4]);
  });
});
