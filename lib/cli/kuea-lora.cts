#!/usr/bin/env node
import './pool.cjs';

void import('./kuea-lora-program.js');
