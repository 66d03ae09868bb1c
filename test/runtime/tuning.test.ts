// Files of tiles that were measured: written and read back, of this device only, and never in the way.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, afterAll, beforeEach, expect, test, vi } from 'vitest';
import type { DeviceFacts } from '../../runtime/device/device.ts';
import { keepTiles, readTuning, tilesFor, TuningError, tuningPath } from '../../runtime/device/tuning.ts';

const scratch = mkdtempSync(join(tmpdir(), 'opabinia-tuning-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const facts: DeviceFacts = {
  name: 'A card',
  vendor: 'somebody',
  architecture: 'gen-1',
  driver: 'driver 5.1',
  software: false,
  subgroups: undefined,
  features: [],
  limits: {
    maxBufferSize: 0,
    maxStorageBufferBindingSize: 0,
    maxStorageBuffersPerShaderStage: 0,
    maxComputeWorkgroupStorageSize: 0,
    maxComputeInvocationsPerWorkgroup: 0,
    maxComputeWorkgroupSizeX: 0,
    maxComputeWorkgroupSizeY: 0,
    maxComputeWorkgroupSizeZ: 0,
    maxComputeWorkgroupsPerDimension: 0,
    minStorageBufferOffsetAlignment: 0,
  },
  matrices: [],
};

const told: string[] = [];
beforeEach(() => {
  told.length = 0;
  vi.stubEnv('XDG_CACHE_HOME', join(scratch, expect.getState().currentTestName?.replaceAll(/\W+/g, '-') ?? 'test'));
  vi.stubEnv('OPABINIA_TUNING', undefined);
  vi.spyOn(process, 'emitWarning').mockImplementation((warning) => void told.push(String(warning)));
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

test('what is kept is found when the device is opened, and what is found later is added', () => {
  expect(tilesFor(facts)).toBeUndefined();
  keepTiles(facts, { one: 'a', two: 'b' });
  keepTiles(facts, { two: 'c', three: 'd' });
  expect(tilesFor(facts)).toEqual({ one: 'a', two: 'c', three: 'd' });
  expect(tilesFor(facts, 'off')).toBeUndefined();
  vi.stubEnv('OPABINIA_TUNING', 'off');
  expect(tilesFor(facts)).toBeUndefined();
  expect(told).toEqual([]);
});

test.each([
  ['adapter', { name: 'Another card' }],
  ['driver', { driver: 'driver 5.2' }],
] as const)('of another %s: another file, and refused where it is given by hand', (key, other) => {
  keepTiles(facts, { one: 'a' });
  const there = { ...facts, ...other };
  expect(tilesFor(there)).toBeUndefined();
  expect(() => tilesFor(there, tuningPath(facts))).toThrow(TuningError);
  expect(() => tilesFor(there, tuningPath(facts))).toThrow(new RegExp(`of another ${key}: '.*', and here it is '`));
  vi.stubEnv('OPABINIA_TUNING', tuningPath(facts));
  expect(() => tilesFor(there)).toThrow(/opabinia tune; or leave it out: OPABINIA_TUNING=off/);
});

test('of another Dawn: refused by hand, told of and left out where it was kept', () => {
  keepTiles(facts, { one: 'a' });
  const path = tuningPath(facts);
  writeFileSync(path, readFileSync(path, 'utf8').replace(/"dawn": ".*"/, '"dawn": "0.0.1"'));
  expect(() => readTuning(path, facts)).toThrow(/of another dawn: '0\.0\.1'/);
  expect(tilesFor(facts)).toBeUndefined();
  expect(told.join()).toContain(path);
});

test.each([
  ['no JSON', '{"version": 1,'],
  ['a field that nobody knows', '{"version":1,"adapter":"","driver":"","dawn":"","tiles":{},"run":"it"}'],
  ['tiles that are numbers', '{"version":1,"adapter":"","driver":"","dawn":"","tiles":{"one":1}}'],
  ['another version', '{"version":2,"adapter":"","driver":"","dawn":"","tiles":{}}'],
])('%s: refused by hand, told of and left out where it was kept, written anew by the next', (_what, text) => {
  keepTiles(facts, {});
  const path = tuningPath(facts);
  writeFileSync(path, text);
  expect(() => tilesFor(facts, path)).toThrow(/is not a tuning file/);
  expect(tilesFor(facts)).toBeUndefined();
  expect(told).toEqual([expect.stringContaining(path)]);
  keepTiles(facts, { one: 'a' });
  expect(tilesFor(facts)).toEqual({ one: 'a' });
});

test('a file that is not there is refused where it is given by hand', () => {
  expect(() => tilesFor(facts, join(dirname(tuningPath(facts)), 'nothing.json'))).toThrow(TuningError);
});
