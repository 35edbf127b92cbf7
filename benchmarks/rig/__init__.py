"""What measurements and soak tests stand on: a cluster whose pods run nothing, the operator as a process.

The API server, the scheduler and the controllers are real. Stood in for are the kubelets (hack/kwok), the
runtimes in the pods (`benchmarks.standin`) and the fetchers in the Jobs' pods (`fetching`).
"""
