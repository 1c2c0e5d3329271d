"""The management API: one table of operations, from which routes, rights and the OpenAPI document follow."""
