import { describe, expect, it } from 'vitest';
import { childEnvironment } from '../../model-server/executor/child-environment.ts';
import {
  type AvailableDevices,
  type InstanceGroup,
  planInstances,
} from '../../model-server/executor/devices.ts';
import { probeDevices } from '../../model-server/executor/probe-devices.ts';

const none: AvailableDevices = {
  providers: ['cpu', 'webgpu'],
  missing: ['cuda: its library is not installed'],
  gpus: 0,
};
const twoGpus: AvailableDevices = { providers: ['cpu', 'webgpu', 'cuda'], missing: [], gpus: 2 };
const mac: AvailableDevices = { providers: ['cpu', 'coreml', 'webgpu'], missing: [], gpus: 1 };
const driverless: AvailableDevices = { ...twoGpus, gpus: 0 };

const plan = (groups: InstanceGroup[], available: AvailableDevices, wanted = 'auto') =>
  planInstances(groups, { available, wanted, defaultInstances: 3, owner: 'model m version 1' });
const places = (...from: Parameters<typeof plan>) =>
  plan(...from).map(({ provider, device }) => `${provider}@${device}`);

describe('planInstances', () => {
  const auto: InstanceGroup = { kind: 'auto', gpus: [] };
  const cpu: InstanceGroup = { kind: 'cpu', gpus: [] };
  const gpu: InstanceGroup = { kind: 'gpu', gpus: [] };
  const table: [string, InstanceGroup[], AvailableDevices, string, string[]][] = [
    ['no group, no GPU: the default count on the CPU', [], none, 'auto', Array(3).fill('cpu@cpu')],
    ['no group, GPUs: one on each', [], twoGpus, 'auto', ['cuda@gpu:0', 'cuda@gpu:1']],
    ['AUTO without a GPU counts in all', [{ ...auto, count: 2 }], none, 'auto', ['cpu@cpu', 'cpu@cpu']],
    [
      'AUTO with GPUs counts for each',
      [{ ...auto, count: 2 }],
      twoGpus,
      'auto',
      ['cuda@gpu:0', 'cuda@gpu:0', 'cuda@gpu:1', 'cuda@gpu:1'],
    ],
    ['AUTO does not take webgpu unasked', [{ ...auto, count: 1 }], none, 'auto', ['cpu@cpu']],
    ['AUTO takes webgpu when asked', [{ ...auto, count: 1 }], none, 'webgpu', ['webgpu@gpu:0']],
    ['AUTO takes coreml', [auto], mac, 'auto', ['coreml@gpu:0']],
    ['AUTO keeps to the CPU when told', [{ ...auto, count: 1 }], twoGpus, 'cpu', ['cpu@cpu']],
    ['CPU counts in all', [{ ...cpu, count: 2 }], twoGpus, 'auto', ['cpu@cpu', 'cpu@cpu']],
    ['CPU without a count: the default', [cpu], twoGpus, 'cuda', Array(3).fill('cpu@cpu')],
    ['GPU on those that it lists', [{ ...gpu, count: 1, gpus: [1] }], twoGpus, 'auto', ['cuda@gpu:1']],
    ['GPU takes webgpu where there is nothing better', [gpu], none, 'auto', ['webgpu@gpu:0']],
    ['GPU without a driver does not take cuda', [gpu], driverless, 'auto', ['webgpu@gpu:0']],
    [
      'groups add up',
      [
        { ...cpu, count: 1 },
        { ...gpu, count: 1, gpus: [0] },
      ],
      twoGpus,
      'auto',
      ['cpu@cpu', 'cuda@gpu:0'],
    ],
  ];
  it.each(table)('%s', (_, groups, available, wanted, expected) => {
    expect(places(groups, available, wanted)).toEqual(expected);
  });

  it('says what AUTO wanted and why it got the CPU', () => {
    const [instance] = plan([auto], none, 'cuda');
    expect(instance).toMatchObject({ provider: 'cpu', device: 'cpu' });
    expect(instance!.note).toBe(
      'wanted cuda, got cpu: onnxruntime-node has cpu, webgpu; GPUs found: 0; cuda: its library is not installed',
    );
    expect(plan([auto], none)[0]!.note).toBe('');
  });

  it.each([
    ['cpu is wanted', none, 'cpu'],
    ['the wanted provider is not there', none, 'cuda'],
    ['there is no provider', { ...none, providers: ['cpu'] }, 'auto'],
  ])('KIND_GPU fails loudly when %s', (_, available, wanted) => {
    expect(() => plan([gpu], available, wanted)).toThrowError(
      expect.objectContaining({
        reason: 'MODEL_LOAD_FAILED',
        message: expect.stringMatching(/model m version 1.*KIND_GPU.*onnxruntime-node has cpu.*KIND_AUTO/),
      }),
    );
  });

  it('refuses a GPU that is not there, and takes no other provider in place of a required one', () => {
    expect(() => plan([{ ...gpu, gpus: [0, 2] }], twoGpus)).toThrowError(/names gpus 2.*has 2 \(0 to 1\)/);
    expect(plan([gpu], twoGpus)[0]!.providerRequired).toBe(true);
    expect(plan([auto], twoGpus)[0]!.providerRequired).toBe(false);
  });

  it('gives every webgpu instance a process, for two in one process abort it', () => {
    expect(plan([{ ...auto, count: 2 }], none, 'webgpu').map((instance) => instance.isolation)).toEqual([
      'process',
      'process',
    ]);
    expect(plan([auto], twoGpus)[0]!.isolation).toBeUndefined();
  });
});

describe('probeDevices', () => {
  it('asks the runtime without loading it into this thread, once', async () => {
    const first = probeDevices();
    expect(probeDevices()).toBe(first);
    const available = await first;
    expect(available.providers).toContain('cpu');
    expect(available.gpus).toBeGreaterThanOrEqual(0);
    for (const line of available.missing) expect(line).toMatch(/^\w+: .*onnxruntime/);
  });
});

describe('childEnvironment', () => {
  it('passes what drivers need and no secret, and sets what gives memory back', () => {
    const passed = childEnvironment({
      PATH: '/bin',
      VK_DRIVER_FILES: '/icd.json',
      NEREID_ADMIN_KEY: 'secret',
      HF_TOKEN: 'secret',
      MALLOC_ARENA_MAX: '4',
      LANG: undefined,
    });
    expect(passed).toEqual({
      PATH: '/bin',
      VK_DRIVER_FILES: '/icd.json',
      MALLOC_ARENA_MAX: '4',
      MALLOC_TRIM_THRESHOLD_: '131072',
      MALLOC_MMAP_THRESHOLD_: '131072',
    });
  });
});
