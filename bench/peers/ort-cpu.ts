// ONNX Runtime's CPU provider: for orientation, it is not a WebGPU.
import { Ort } from './ort.ts';
import { serve } from './serve.ts';

serve(new Ort('cpu'));
