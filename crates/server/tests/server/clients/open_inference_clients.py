"""The clients of the Open Inference Protocol, against a server of sleeping devices.

    python3 open_inference_clients.py HTTP_ADDRESS GRPC_ADDRESS

Needs open-inference-openapi, open-inference-grpc, grpcio and protobuf.
"""

import sys


def check_http(address):
    from open_inference.openapi.client import OpenInferenceClient, InferenceRequest

    client = OpenInferenceClient(base_url=f"http://{address}")
    client.check_server_readiness()
    client.check_model_readiness("tile")
    metadata = client.read_model_metadata("tile")
    assert metadata.name == "tile", metadata
    answer = client.model_infer(
        "tile",
        request=InferenceRequest(inputs=[{"name": "target", "shape": [1, 1, 2, 2], "datatype": "FP32", "data": [0.0, 1.0, 1.0, 0.0]}]),
    )
    values = answer.outputs[0].data
    assert list(getattr(values, "root", None) or values.__root__) == [0, 1, 1, 0], answer


def check_grpc(address):
    import grpc
    from open_inference.grpc.protocol import ModelInferRequest, ServerReadyRequest
    from open_inference.grpc.service import GRPCInferenceServiceStub

    stub = GRPCInferenceServiceStub(grpc.insecure_channel(address))
    assert stub.ServerReady(ServerReadyRequest()).ready
    tensor = ModelInferRequest.InferInputTensor(name="target", datatype="FP32", shape=[1, 1, 2, 2])
    tensor.contents.fp32_contents.extend([0, 1, 1, 0])
    answer = stub.ModelInfer(ModelInferRequest(model_name="tile", inputs=[tensor]))
    assert len(answer.raw_output_contents[0]) == 16, answer


if __name__ == "__main__":
    check_http(sys.argv[1])
    check_grpc(sys.argv[2])
    print("open-inference")
