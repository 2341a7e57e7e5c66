"""Every name that is used of TensorRT: tests look them up in each version that it may be."""

from __future__ import annotations

from typing import Final

__all__ = ['USED', 'USED_OF_RTX', 'USED_OF_TENSORRT']

USED: Final = (
    'Builder.build_serialized_network',
    'Builder.create_builder_config',
    'Builder.create_network',
    'Builder.create_optimization_profile',
    'BuilderFlag.TF32',
    'IBuilderConfig.add_optimization_profile',
    'IBuilderConfig.clear_flag',
    'IBuilderConfig.progress_monitor',
    'IBuilderConfig.set_memory_pool_limit',
    'ExecutionContextAllocationStrategy.USER_MANAGED',
    'ICudaEngine.create_execution_context',
    'ICudaEngine.device_memory_size_v2',
    'ICudaEngine.get_tensor_dtype',
    'ICudaEngine.get_tensor_mode',
    'ICudaEngine.get_tensor_name',
    'ICudaEngine.get_tensor_profile_shape',
    'ICudaEngine.get_tensor_shape',
    'ICudaEngine.num_io_tensors',
    'IExecutionContext.execute_async_v3',
    'IExecutionContext.infer_shapes',
    'IExecutionContext.set_device_memory',
    'IExecutionContext.set_input_shape',
    'IExecutionContext.set_tensor_address',
    'ILogger.Severity',
    'INetworkDefinition.get_input',
    'INetworkDefinition.get_output',
    'INetworkDefinition.num_inputs',
    'INetworkDefinition.num_layers',
    'INetworkDefinition.num_outputs',
    'IOptimizationProfile.set_shape',
    'IProgressMonitor.phase_start',
    'IProgressMonitor.phase_finish',
    'IProgressMonitor.step_complete',
    'ITensor.name',
    'ITensor.shape',
    'MemoryPoolType.WORKSPACE',
    'NetworkDefinitionCreationFlag.STRONGLY_TYPED',
    'OnnxParser.get_error',
    'OnnxParser.num_errors',
    'OnnxParser.parse',
    'ParserError.desc',
    'ParserError.node_name',
    'ParserError.node_operator',
    'Runtime.deserialize_cuda_engine',
    'TensorIOMode.INPUT',
)
"""Names that both libraries must have."""

USED_OF_RTX: Final = (
    'BuilderFlag.REQUIRE_USER_ALLOCATION',
    'ComputeCapability',
    'DynamicShapesKernelSpecializationStrategy.EAGER',
    'EngineInvalidityDiagnostics',
    'EngineValidity.INVALID',
    'IBuilderConfig.num_compute_capabilities',
    'IBuilderConfig.set_compute_capability',
    'IBuilderConfig.set_flag',
    'ICudaEngine.create_runtime_config',
    'IExecutionContext.is_stream_capturable',
    'IRuntimeCache.deserialize',
    'IRuntimeCache.serialize',
    'IRuntimeConfig.create_runtime_cache',
    'IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy',
    'IRuntimeConfig.set_execution_context_allocation_strategy',
    'IRuntimeConfig.set_runtime_cache',
    'Runtime.get_engine_validity',
)
"""Names that only ``tensorrt_rtx`` has."""

USED_OF_TENSORRT: Final = (
    'IBuilderConfig.create_timing_cache',
    'IBuilderConfig.get_timing_cache',
    'IBuilderConfig.set_timing_cache',
    'ITimingCache.serialize',
)
"""Names that are only used of ``tensorrt``."""
