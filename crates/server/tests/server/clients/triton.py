"""Every call of tritonclient, over HTTP and gRPC, against a server of sleeping devices: model `tile` maps `target` to `mask` unchanged.

    python3 triton.py HTTP_ADDRESS GRPC_ADDRESS

Ends with status 0 if all is as it should be. Needs tritonclient[http,grpc], ml_dtypes and numpy.
"""

import sys
import uuid

import ml_dtypes
import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http
import tritonclient.utils.shared_memory as memory
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

SIDE = 64


def images(kind, items=2):
    pixels = np.random.default_rng(7).random((items, 1, SIDE, SIDE)) > 0.5
    return pixels.astype(kind)


def tensor(api, values, binary=True, datatype=None):
    input_ = api.InferInput("target", values.shape, datatype or np_to_triton_dtype(values.dtype))
    if api is http:
        input_.set_data_from_numpy(values, binary_data=binary)
    else:
        input_.set_data_from_numpy(values)
    return input_


def refused(call, *words):
    try:
        call()
    except InferenceServerException as error:
        text = f"{error.status()} {error.message()}"
        assert all(word in text for word in words), text
    else:
        raise AssertionError(f"not refused: {words}")


def check_metadata(client, api):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("tile") and client.is_model_ready("tile", "1")
    assert not client.is_model_ready("nope")
    as_json = {"as_json": True} if api is grpc else {}
    server = client.get_server_metadata(**as_json)
    assert {"binary_tensor_data", "statistics", "system_shared_memory"} <= set(server["extensions"])
    model = client.get_model_metadata("tile", **as_json)
    assert [int(n) for n in model["inputs"][0]["shape"]] == [-1, 1, -1, -1], model
    config = client.get_model_config("tile", **as_json)
    config = config.get("config", config)
    assert config["max_batch_size"] == 8 and config["input"][0]["data_type"] == "TYPE_FP32", config
    index = client.get_model_repository_index(**as_json)
    index = index["models"] if api is grpc else index
    assert {(m["name"], m["state"]) for m in index} >= {("tile", "READY")}, index
    statistics = client.get_inference_statistics("tile", **as_json)
    assert statistics["model_stats"][0]["name"] == "tile"
    client.get_inference_statistics(**as_json)
    refused(lambda: client.get_model_metadata("nope"), "unknown model")
    refused(lambda: client.load_model("tile"), "not allowed")
    refused(lambda: client.unload_model("tile"), "not allowed")


def check_settings(client, api):
    if api is http:
        assert client.get_trace_settings()["trace_level"] == ["OFF"]
        client.get_log_settings()
    else:
        refused(lambda: client.get_trace_settings(), "UNIMPLEMENTED")
        refused(lambda: client.get_log_settings(), "UNIMPLEMENTED")
    refused(lambda: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}), "")
    refused(lambda: client.update_log_settings({"log_verbose_level": 1}), "")


def check_infer(client, api):
    for kind in (np.float32, np.float16, np.uint8, np.bool_):
        values = images(kind)
        answer = client.infer("tile", [tensor(api, values)], request_id="abc")
        mask = answer.as_numpy("mask")
        assert mask.dtype == values.dtype and (mask == values).all(), kind
        response = answer.get_response()
        assert (response["id"] if api is http else response.id) == "abc"
    values = images(np.float32)
    half = images(ml_dtypes.bfloat16)
    back = client.infer("tile", [tensor(api, half, datatype="BF16")]).as_numpy("mask")
    assert (back.astype(np.float32) == half.astype(np.float32)).all()
    rows = np.packbits(values.astype(np.uint8), axis=-1)
    packed = np.array([row.tobytes() for row in rows.reshape(-1, rows.shape[-1])], dtype=object)
    packed = packed.reshape(rows.shape[:-1])
    back = client.infer("tile", [tensor(api, packed)]).as_numpy("mask")
    assert (back == packed).all() and back.shape == packed.shape
    asked = client.infer("tile", [tensor(api, values)], outputs=[api.InferRequestedOutput("mask")])
    assert (asked.as_numpy("mask") == values).all()
    urgent = client.infer("tile", [tensor(api, values)], model_version="1", priority=1, timeout=5_000_000)
    assert (urgent.as_numpy("mask") == values).all()


def check_refusals(client, api):
    values = images(np.float32)
    infer = lambda *inputs, model="tile", **more: client.infer(model, list(inputs), **more)
    refused(lambda: infer(tensor(api, values), model="nope"), "unknown model")
    refused(lambda: infer(tensor(api, values), model_version="7"), "unknown model")
    wrong = api.InferInput("zz", values.shape, "FP32")
    wrong.set_data_from_numpy(values)
    refused(lambda: infer(wrong), "unexpected inference input 'zz'")
    refused(lambda: infer(), "expected 1 inputs but got 0")
    refused(lambda: infer(tensor(api, values[0, 0])), "unexpected shape for input 'target'")
    refused(lambda: infer(tensor(api, values.astype(np.int32))), "data-type is 'INT32'")
    refused(lambda: infer(tensor(api, images(np.float32, 9))), "batch-size must be <= 8")
    output = api.InferRequestedOutput("zz")
    refused(lambda: infer(tensor(api, values), outputs=[output]), "unexpected inference output 'zz'")


def check_memory(client, api):
    values = images(np.float32)
    size, key = values.nbytes, f"/lithoburn_{uuid.uuid4().hex}"
    region = memory.create_shared_memory_region("both", key, 2 * size)
    try:
        memory.set_shared_memory_region(region, [values])
        client.unregister_system_shared_memory()
        client.unregister_cuda_shared_memory()
        client.register_system_shared_memory("both", key, 2 * size)
        refused(lambda: client.register_system_shared_memory("both", key, 2 * size), "already")
        refused(lambda: client.register_system_shared_memory("more", "/../etc/passwd", 1), "no name")
        as_json = {"as_json": True} if api is grpc else {}
        assert "both" in str(client.get_system_shared_memory_status(**as_json))
        client.get_cuda_shared_memory_status(**as_json)
        input_ = api.InferInput("target", values.shape, "FP32")
        input_.set_shared_memory("both", size)
        output = api.InferRequestedOutput("mask")
        output.set_shared_memory("both", size, offset=size)
        response = client.infer("tile", [input_], outputs=[output]).get_response()
        # perf_analyzer's C++ client fails otherwise.
        if api is http:
            assert "parameters" not in response["outputs"][0], response
        else:
            assert list(response.raw_output_contents) == [b""], response
        mask = memory.get_contents_as_numpy(region, values.dtype, values.shape, offset=size)
        assert (mask == values).all()
        input_.set_shared_memory("both", size, offset=2 * size)
        refused(lambda: client.infer("tile", [input_]), "Invalid offset")
        client.unregister_system_shared_memory("both")
    finally:
        memory.destroy_shared_memory_region(region)


def check_http_only(client):
    values = images(np.float32)
    plain = client.infer("tile", [tensor(http, values, binary=False)], outputs=[http.InferRequestedOutput("mask", binary_data=False)])
    assert (plain.as_numpy("mask") == values).all()
    for packing in ("gzip", "deflate"):
        answer = client.infer(
            "tile",
            [tensor(http, values)],
            request_compression_algorithm=packing,
            response_compression_algorithm=packing,
        )
        assert (answer.as_numpy("mask") == values).all()
    waiting = [client.async_infer("tile", [tensor(http, values + k)]) for k in range(20)]
    for k, request in enumerate(waiting):
        assert (request.get_result().as_numpy("mask") == values + k).all()


def check_grpc_only(client):
    import queue

    values = images(np.float32)
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for k in range(20):
        model = "nope" if k == 5 else "tile"
        client.async_stream_infer(model, [tensor(grpc, values + k)], request_id=str(k))
    for k in range(20):
        result, error = answers.get(timeout=30)
        if k == 5:
            assert "unknown model" in str(error), error
        else:
            assert error is None and (result.as_numpy("mask") == values + k).all(), error
    client.stop_stream()
    client.async_infer("tile", [tensor(grpc, values)], lambda result, error: answers.put((result, error)))
    result, error = answers.get(timeout=30)
    assert error is None and (result.as_numpy("mask") == values).all()
    packed = client.infer("tile", [tensor(grpc, values)], compression_algorithm="gzip")
    assert (packed.as_numpy("mask") == values).all()
    large = np.zeros((1, 1, 2048, 2048), np.float32)
    assert client.infer("tile", [tensor(grpc, large)]).as_numpy("mask").nbytes == large.nbytes
    refused(lambda: client.infer("tile", [tensor(grpc, values)], client_timeout=0.0005), "DEADLINE_EXCEEDED")


def main():
    addresses = dict(zip((http, grpc), sys.argv[1:3]))
    for api, address in addresses.items():
        client = api.InferenceServerClient(address, concurrency=20) if api is http else api.InferenceServerClient(address)
        for check in (check_metadata, check_settings, check_infer, check_refusals, check_memory):
            check(client, api)
            print(f"{api.__name__} {check.__name__}")
        (check_http_only if api is http else check_grpc_only)(client)
        client.close()
    print("all calls of tritonclient")


if __name__ == "__main__":
    main()
