"""DiffCFD (github.com/OpenLithoHub/DiffCFD) on its four problems: seconds, memory, and what became of them.

Get it: it is in no package registry. Check out its repository, install torch, numpy, scipy and gymnasium, build its Rust part
(`cargo build --release`) and copy the library beside the Python files as `diffcfd/_diffcfd_rust.so`. Then, for each problem:

    python diffcfd.py CHECKOUT exchanger|cylinder|channel|airfoil [--iterations N] [--krylov N]

A problem runs in a process of its own, with the settings of the package: its environments for cylinder and exchanger, its performance
benchmark's channel, its section of B-splines in its airfoil workflow's stream, all with `backward="implicit_diff"`. Nothing of the
package is changed. Its two loops have caps (2,000 or 3,000 iterations of SIMPLE, 2,000 of GMRES) which end them without a word, so the
divergence and the residual are watched from outside. `--iterations` and `--krylov` lower the caps where a problem would take an hour.
"""

import argparse
import json
import math
import resource
import sys
import time

import torch


def watch(solvers, linalg, seen):
    """Counts iterations of both loops and keeps their last residuals."""
    divergence, gmres = solvers._divergence, linalg.gmres_matfree

    def watched_divergence(ux, uy, dx, dy):
        value = divergence(ux, uy, dx, dy)
        seen["calls"] += 1
        if seen["calls"] % 2 == 0:  # the first of two is before the correction
            seen["divergence"] = value.abs().max().item()
        return value

    def watched_gmres(matvec, b, **options):
        options["max_iter"] = min(options["max_iter"], seen["krylov_cap"])
        seen["krylov_cap"] = options["max_iter"]
        x, iterations = gmres(matvec, b, **options)
        seen["krylov"] = iterations
        seen["adjoint_residual"] = ((b - matvec(x)).norm() / b.norm()).item()
        return x, iterations

    solvers._divergence, linalg.gmres_matfree = watched_divergence, watched_gmres


def exchanger():
    """Heat per pressure drop by the fins' heights and distance."""
    from diffcfd.envs.heat_exchanger import HeatExchangerEnv

    env = HeatExchangerEnv(re=100.0, grid=(64, 64))
    action = torch.tensor([0.5, 0.5, 0.5], requires_grad=True)
    return env._solver, [action], lambda: env.step_differentiable(action)[1]


def cylinder():
    """Drag by the inflow, in the environment's channel."""
    from diffcfd.envs.cylinder_wake import CylinderWakeEnv

    env = CylinderWakeEnv(re=100.0, grid=(128, 64))
    inflow = torch.tensor(1.0, requires_grad=True)

    def loss():
        env._ux, env._uy, env._p = env._solver.solve_steady(
            sdf=env._sdf, inlet_velocity=inflow, case="channel"
        )
        return env._compute_reward()

    return env._solver, [inflow], loss


def channel():
    """Pressure drop by the inflow, as its benchmark's `Implicit diff (forward+backward)`."""
    from diffcfd.solvers.navier_stokes_2d import NavierStokes2D

    solver = NavierStokes2D(
        reynolds_number=1.0, grid=(256, 128), lx=4.0, ly=1.0, backward="implicit_diff", max_iter=2000, tol=1e-8
    )
    inflow = torch.tensor(1.0, requires_grad=True)
    return solver, [inflow], lambda: solver.pressure_drop(*solver.solve_steady(inlet_velocity=inflow, case="channel"))


def airfoil():
    """Drag by the control points of its section, as the first step of its airfoil workflow."""
    from diffcfd.geometry.airfoil import BSplineAirfoil, compute_forces
    from diffcfd.solvers.navier_stokes_2d import NavierStokes2D

    solver = NavierStokes2D(
        reynolds_number=1000.0, grid=(256, 128), lx=2.0, ly=1.0, backward="implicit_diff", max_iter=2000, tol=1e-5
    )
    spline = BSplineAirfoil(n_control_points=8, chord=0.5, leading_edge_x=0.5, center_y=0.5)
    points = spline.initial_control_points().clone().detach().requires_grad_(True)

    def loss():
        sdf = spline.sdf(solver.mesh, points)
        ux, uy, p = solver.solve_steady(sdf=sdf, inlet_velocity=1.0, case="channel")
        return compute_forces(p, ux, uy, solver.mesh, sdf, mu=1e-3)[0]

    return solver, [points], loss


def plain(value):
    """JSON has no NaN."""
    return value if math.isfinite(value) else "NaN"


def main():
    problems = {"exchanger": exchanger, "cylinder": cylinder, "channel": channel, "airfoil": airfoil}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout")
    parser.add_argument("problem", choices=problems)
    parser.add_argument("--iterations", type=int, help="cap of SIMPLE")
    parser.add_argument("--krylov", type=int, default=2000, help="cap of GMRES")
    args = parser.parse_args()
    sys.path.insert(0, args.checkout)
    import diffcfd.solvers.navier_stokes_2d as solvers
    import diffcfd.utils.linalg as linalg

    seen = {"calls": 0, "krylov_cap": args.krylov}
    watch(solvers, linalg, seen)
    solver, parameters, loss_of = problems[args.problem]()
    own_cap = solver.max_iter
    solver.max_iter = min(own_cap, args.iterations or own_cap)
    clock, cpu = time.perf_counter(), time.process_time()
    loss = loss_of()
    forward, forward_cpu = time.perf_counter() - clock, time.process_time() - cpu
    report = {
        "problem": args.problem,
        "grid": [solver.nx, solver.ny],
        "torch": torch.__version__,
        "forward_s": forward,
        "forward_cpu_s": forward_cpu,
        "iterations": seen["calls"] // 2,
        "iterations_cap": own_cap,
        "divergence": plain(seen["divergence"]),
        "divergence_wanted": solver.tol,
        "value": plain(loss.item()),
        "forward_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(report), file=sys.stderr, flush=True)
    clock, cpu = time.perf_counter(), time.process_time()
    loss.backward()
    report |= {
        "backward_s": time.perf_counter() - clock,
        "backward_cpu_s": time.process_time() - cpu,
        "krylov": seen["krylov"],
        "krylov_cap": seen["krylov_cap"],
        "adjoint_residual": plain(seen["adjoint_residual"]),
        "adjoint_residual_wanted": 1e-5,
        "gradient": [plain(g) for p in parameters for g in p.grad.flatten().tolist()],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
