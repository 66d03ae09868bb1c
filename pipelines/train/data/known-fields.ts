// Objects that a person writes: a field that nobody knows is refused with the nearest that somebody does, not passed over.
import { z } from 'zod';
import { nameAdvice } from '../../../dsl/text/near-names.ts';

/** An object of these fields alone. */
export function knownFields<T extends z.core.$ZodLooseShape>(fields: T): z.ZodObject<T, z.core.$strict> {
  return z.strictObject(fields, {
    error: (issue) => {
      const [stray = ''] = issue.code === 'unrecognized_keys' ? issue.keys : [];
      return issue.code === 'unrecognized_keys'
        ? `there is no '${stray}' here; ${nameAdvice(stray, Object.keys(fields))}`
        : undefined;
    },
  });
}
