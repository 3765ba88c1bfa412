"""Forward and gradient of 100 steps of jax-cfd 0.2.1 (periodic box, no bodies): python jax_cfd.py 128"""

import sys
import time, resource, jax, jax.numpy as jnp, numpy as np
import jax_cfd.base as cfd
def main(n, steps=100):
    grid=cfd.grids.Grid((n,n),domain=((0,2*np.pi),(0,2*np.pi)))
    v0=cfd.initial_conditions.filtered_velocity_field(jax.random.PRNGKey(0),grid,maximum_velocity=1.0,peak_wavenumber=4)
    dt=cfd.equations.stable_time_step(1.0,0.5,1e-3,grid)
    step=cfd.equations.semi_implicit_navier_stokes(density=1.0,viscosity=1e-3,dt=dt,grid=grid)
    run=cfd.funcutils.repeated(step,steps)
    energy=lambda v: sum(jnp.sum(u.data**2) for u in run(v))
    f=jax.jit(energy); g=jax.jit(jax.grad(energy))
    def clock(h):
        t=time.time(); jax.block_until_ready(h(v0)); first=time.time()-t
        best=1e9
        for _ in range(3):
            t=time.time(); jax.block_until_ready(h(v0)); best=min(best,time.time()-t)
        return first,best
    a=clock(f); b=clock(g)
    print(f"jax-cfd {n}x{n}, {steps} steps: forward {a[1]:.3f} s (first {a[0]:.1f}), gradient {b[1]:.3f} s (first {b[0]:.1f}), ratio {b[1]/a[1]:.1f}, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1000:.0f} MB",flush=True)
main(int(sys.argv[1]))
