"""Drag of NACA 0012 at angle 0 by another method than lithoburn-cfd's: Taylor-Hood elements (Q2-Q1) on a body-fitted O-grid.

    pip install scikit-fem==12.0.2 scipy
    python airfoil_fem.py 500,80,0.008,1.18 500,120,0.005,1.14 1000,120,0.005,1.14

Each argument: Reynolds number, cells around the section, height of the first cell, growth of the next ones. The far side is a circle of 40 chords:
uniform stream before and beside the section, do-nothing 20 chords and more behind it. Newton's method, viscosity falling in stages. Drag is the
reaction of the wall's velocities, the residual of their rows.
"""

import sys
import time

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import splu
from skfem import Basis, BilinearForm, ElementQuad1, ElementQuad2, ElementVector, LinearForm, MeshQuad
from skfem.helpers import ddot, div, dot, grad, mul

FAR = 40.0


def mesh(around, first, growth):
    angle = 2 * np.pi * np.arange(around) / around
    x = (1 + np.cos(angle)) / 2
    half = 0.6 * (0.2969 * np.sqrt(np.maximum(x, 0)) - 0.1260 * x - 0.3516 * x**2 + 0.2843 * x**3 - 0.1036 * x**4)
    y = np.where(angle <= np.pi, half, -half)
    y[0] = 0.0
    wall, far = np.array([x, y]), np.array([0.5 + FAR * np.cos(angle), FAR * np.sin(angle)])
    reached, step = [0.0], first
    while reached[-1] < FAR:
        reached.append(reached[-1] + step)
        step *= growth
    shares = np.array(reached) / reached[-1]
    points = np.concatenate([(1 - s) * wall + s * far for s in shares], axis=1)
    ring = np.arange(around)
    after = (ring + 1) % around
    cells = [np.array([k + ring, k + around + ring, k + around + after, k + after])
             for k in around * np.arange(len(shares) - 1)]
    return MeshQuad(points, np.concatenate(cells, axis=1))


@BilinearForm
def friction(u, v, _):
    return ddot(grad(u), grad(v))


@BilinearForm
def continuity(u, q, _):
    return -div(u) * q


@BilinearForm
def convection_slope(u, v, w):
    return dot(mul(grad(w["flow"]), u) + mul(grad(u), w["flow"].value), v)


@LinearForm
def convection(v, w):
    return dot(mul(grad(w["flow"]), w["flow"].value), v)


def drag(reynolds, around, first, growth):
    started = time.time()
    grid = mesh(around, first, growth)
    velocities = Basis(grid, ElementVector(ElementQuad2()), intorder=5)
    pressures = velocities.with_element(ElementQuad1())
    radius = lambda p: np.hypot(p[0] - 0.5, p[1])
    wall = velocities.get_dofs(grid.facets_satisfying(lambda p: radius(p) < 2, boundaries_only=True))
    inlet = velocities.get_dofs(grid.facets_satisfying(lambda p: (radius(p) > 2) & (p[0] < FAR / 2), boundaries_only=True))
    along = lambda dofs: np.concatenate([dofs.nodal["u^1"], dofs.facet["u^1"]])
    a, b = friction.assemble(velocities), continuity.assemble(velocities, pressures)
    n, m = velocities.N, pressures.N
    given = np.unique(np.concatenate([wall.all(), inlet.all()]))
    free = np.setdiff1d(np.arange(n + m), given)
    u, p = np.zeros(n), np.zeros(m)
    u[along(inlet)] = 1.0

    def newton(viscosity, inertia):
        nonlocal u, p
        flow = velocities.interpolate(u)
        c = convection_slope.assemble(velocities, flow=flow) if inertia else 0 * a
        carried = convection.assemble(velocities, flow=flow) if inertia else np.zeros(n)
        rest = np.concatenate([viscosity * (a @ u) + carried + b.T @ p, b @ u])
        matrix = sparse.bmat([[viscosity * a + c, b.T], [b, None]], format="csc")[free][:, free].tocsc()
        step = np.zeros(n + m)
        step[free] = splu(matrix).solve(-rest[free])
        u, p = u + step[:n], p + step[n:]
        return np.linalg.norm(rest[free])

    newton(1 / 50, False)
    for stage in (50, 200, reynolds):
        for _ in range(8):
            rest = newton(1 / stage, True)
            if rest < (1e-9 if stage == reynolds else 1e-3):
                break
    carried = convection.assemble(velocities, flow=velocities.interpolate(u))
    force = (a @ u) / reynolds + carried + b.T @ p
    print(f"Re {reynolds:g}, {around} around, {n + m} unknowns, residual {rest:.0e}: "
          f"Cd {-2 * force[along(wall)].sum():.5f} ({time.time() - started:.0f} s)", flush=True)


for argument in sys.argv[1:]:
    reynolds, around, first, growth = argument.split(",")
    drag(float(reynolds), int(around), float(first), float(growth))
