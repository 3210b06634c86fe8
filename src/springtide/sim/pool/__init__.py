"""The pool simulator: elastic policies on recorded or invented arrivals, in discrete events. See docs/elasticity.md."""
