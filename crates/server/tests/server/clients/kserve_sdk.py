"""The KServe SDK, over REST and gRPC, against a server of sleeping devices. Its health checks are those that Triton's empty bodies fail.

    python3 kserve_sdk.py HTTP_ADDRESS GRPC_ADDRESS

Needs kserve and numpy.
"""

import asyncio
import sys

import numpy as np
from kserve import InferInput, InferRequest, InferenceGRPCClient, InferenceRESTClient
from kserve.inference_client import RESTConfig


def request():
    values = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    input_ = InferInput("target", values.shape, "FP32")
    input_.set_data_from_numpy(values, binary_data=True)
    return InferRequest("tile", [input_]), values


async def check_rest(address):
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    base = f"http://{address}"
    assert await client.is_server_live(base)
    assert await client.is_server_ready(base)
    assert await client.is_model_ready(base, "tile")
    asked, values = request()
    answer = await client.infer(base, asked, model_name="tile")
    assert (answer.outputs[0].as_numpy() == values).all()


async def check_grpc(address):
    client = InferenceGRPCClient(address)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("tile")
    asked, values = request()
    answer = await client.infer(asked)
    assert (answer.outputs[0].as_numpy() == values).all()
    await client.close()


if __name__ == "__main__":
    asyncio.run(check_rest(sys.argv[1]))
    asyncio.run(check_grpc(sys.argv[2]))
    print("kserve")
