"""Files for edge runtimes: conversion to LiteRT and ONNX, in a process of its own, and their check."""
