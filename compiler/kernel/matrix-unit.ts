// Matrix units: a subgroup multiplies small blocks, its fragments, as one instruction. WGSL has them in an extension that is not a standard yet:
// all of its names stand here.
import type { MatrixUnit } from '../profile.ts';

export const matrixFeature = 'chromium-experimental-subgroup-matrix';
export const enableMatrices = 'enable chromium_experimental_subgroup_matrix;';

export type MatrixStmt =
  /** Sums of one block of results, 0 at first. */
  | { readonly kind: 'sums'; readonly name: string; readonly unit: MatrixUnit }
  /** A block of an operand out of workgroup memory: element `at`, lines `stride` apart; `turned` where a line holds a column of rows, or a row of columns. */
  | {
      readonly kind: 'fragment';
      readonly name: string;
      readonly of: 'rows' | 'columns';
      readonly unit: MatrixUnit;
      readonly from: string;
      readonly at: string;
      readonly stride: number;
      readonly turned: boolean;
    }
  | { readonly kind: 'multiply'; readonly into: string; readonly rows: string; readonly columns: string }
  /** Sums into workgroup memory, a row of them in each line. */
  | {
      readonly kind: 'spread';
      readonly into: string;
      readonly at: string;
      readonly stride: number;
      readonly sums: string;
    };

export function printMatrix(stmt: MatrixStmt): string {
  switch (stmt.kind) {
    case 'sums': {
      const { to, n, m } = stmt.unit;
      // With a value: in a loop, Dawn 0.6.2 makes a variable without one 0 in the first turn only.
      return `var ${stmt.name} = subgroup_matrix_result<${to}, ${n}, ${m}>();`;
    }
    case 'fragment': {
      const { from, m, n, k } = stmt.unit;
      const type =
        stmt.of === 'rows' ? `subgroup_matrix_left<${from}, ${k}, ${m}>` : `subgroup_matrix_right<${from}, ${n}, ${k}>`;
      return `let ${stmt.name} = subgroupMatrixLoad<${type}, ${stmt.turned ? 'col_major' : 'row_major'}>(&${stmt.from}, ${stmt.at}, ${stmt.stride}u);`;
    }
    case 'multiply':
      return `${stmt.into} = subgroupMatrixMultiplyAccumulate(${stmt.rows}, ${stmt.columns}, ${stmt.into});`;
    case 'spread':
      return `subgroupMatrixStore<row_major>(&${stmt.into}, ${stmt.at}, ${stmt.sums}, ${stmt.stride}u);`;
    default:
      return stmt satisfies never;
  }
}
