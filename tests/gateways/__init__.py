"""The configurations of `service/gateways` on the real gateways: one suite of promises, five programs."""
