"""What would the model be without this sample, this centre, this subset? Thousands of times.

`retraining.retraining` makes the pure function *mask in, model out*; `masks` says what to ask for;
`bulk.bulk` asks for all of it in chunks, over devices, and keeps what is finished; `rounds` leaves
centres out of a federated round without retraining; `out_of_sample` judges every sample by the
models that have not seen it.
"""
