// ONNX Runtime's WebGPU provider, on the same driver as ours.
import { Ort } from './ort.ts';
import { serve } from './serve.ts';

serve(new Ort('webgpu'));
