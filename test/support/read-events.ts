// TensorBoard's event files read by another reader than wrote them.
import { readFileSync } from 'node:fs';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { expect } from 'vitest';
import { maskedCrc } from '../../pipelines/train/run/event-file.ts';

/** TensorBoard's records by the wire format's own reader, checksums included. */
export function readEvents(
  path: string,
): readonly { readonly step: number; readonly version: string; readonly scalars: Record<string, number> }[] {
  const data = readFileSync(path);
  const events = [];
  for (let at = 0; at < data.length;) {
    const length = Number(data.readBigUInt64LE(at));
    expect(data.readUInt32LE(at + 8)).toBe(maskedCrc(data.subarray(at, at + 8)));
    const body = data.subarray(at + 12, at + 12 + length);
    expect(data.readUInt32LE(at + 12 + length)).toBe(maskedCrc(body));
    at += 16 + length;
    const reader = new BinaryReader(body);
    const event = { step: 0, version: '', scalars: {} as Record<string, number> };
    while (reader.pos < reader.len) {
      const [field, wire] = reader.tag();
      if (field === 1 && wire === WireType.Bit64) expect(reader.double()).toBeGreaterThan(0);
      else if (field === 2) event.step = Number(reader.int64());
      else if (field === 3) event.version = reader.string();
      else if (field === 5) {
        const summary = new BinaryReader(reader.bytes());
        while (summary.pos < summary.len) {
          expect(summary.tag()[0]).toBe(1);
          const value = new BinaryReader(summary.bytes());
          let tag = '';
          while (value.pos < value.len) {
            const [inner] = value.tag();
            if (inner === 1) tag = value.string();
            else event.scalars[tag] = value.float();
          }
        }
      } else reader.skip(wire);
    }
    events.push(event);
  }
  return events;
}
