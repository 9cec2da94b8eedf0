//! BERT and RoBERTa encoders that offer hook sites and know no method
